# The comparison table, from $build (eval.json), $baseline (an eval.json too, or data/baseline.json,
# which has the same categories and overall), $targets, and $difference (py/difference.py); with $list
# the prompts whose score changed, too.
def percent: if . == null then "-" else "\(. * 1000 | round / 10)%" end;
def points: if . == null then "-" else (. * 1000 | round / 10) | if . == 0 then "0" elif . > 0 then "+\(.)" else "\(.)" end end;
def pad(width): . + "                    " | .[0:width];

def row(name; n; baseline; target; score): [
  name, "\(n)", (baseline | percent),
  (if target == null then "-" else ">= \(target | percent)" end), (score | percent),
  (if baseline == null then null else score - baseline end | points),
  (if target == null then "-" elif score >= target then "pass" else "FAIL" end)];

$build[0] as $b | $baseline[0] as $base | $targets[0].targets as $t
| [["category", "n", "baseline", "target", "this build", "difference", "verdict"]]
  + [$b.categories | to_entries[] | .key as $name
     | row($name; .value.n; $base.categories[$name].score; $t.categories[$name]; .value.score)]
  + [row("overall"; $b.suite.n; $base.overall; $t.overall; $b.overall)]
| (transpose | map(map(length) | max)) as $widths
| map([., $widths] | transpose | map(.[0] as $cell | .[1] as $w | $cell | pad($w)) | "| " + join(" | ") + " |")
| "# \($b.experiment) (\($b.suite.name)) against \($base.experiment)\n",
  .[0],
  "|" + ($widths | map("--------------------"[0:.] + "--") | join("|")) + "|",
  .[1:][],
  "\nVerdict: **\($b.verdict)**. Overall \($b.overall | percent), 95% interval \($b.ci95[0] | percent)"
  + " to \($b.ci95[1] | percent).",
  "Counting only real calls: \($b.strict_overall | percent).",
  (if $b.settings.float32_twin then "Answered on a CPU by the float32 twin of q5, the same weights." else empty end),
  (if $b.errors then "**\($b.errors) prompts have no answer** and count nowhere." else empty end),
  (if $b.server.kind == "openai" then "Answered by \($b.model.served_id) at \($b.model.path)." else empty end),
  (if $base.errors then "**The baseline lacks \($base.errors) answers.**" else empty end),
  (if $difference.other_suite then "**Not the same suite**: the totals can be compared, the prompts cannot." else empty end),
  (if $difference.n then "Difference to \($base.experiment), prompt by prompt: \($difference.difference | points) points,"
     + "\n95% interval \($difference.ci95[0] | points) to \($difference.ci95[1] | points) (\($difference.n) prompts)." else empty end),
  (if $list == "" then empty
   elif ($difference.changed // []) == [] then "\nNo prompt\u0027s score changed."
   else "\nChanged:\n", ($difference.changed[] | "- \(.id): \(.before * 100 | round / 100) -> \(.after * 100 | round / 100)") end)
