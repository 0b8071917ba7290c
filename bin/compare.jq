# The comparison as Markdown. The input is what py/compare.py prints. $build is an eval.json, $baseline is one too
# or data/baseline.json. If $list is not empty, the prompts whose score changed come last.
def percent: if . == null then "-" else "\(. * 1000 | round / 10)%" end;
def points: if . == null then "-" else (. * 1000 | round / 10) | if . == 0 then "0" elif . > 0 then "+\(.)" else "\(.)" end end;
def pad(width): . + "                    " | .[0:width];

. as $compared | $build[0] as $b | $baseline[0] as $base
| [["category", "n", "baseline", "target", "this build", "difference", "verdict"]]
  + [.rows[] | [.name, "\(.n)", (.baseline | percent), (if .target == null then "-" else ">= \(.target | percent)" end),
     (.score | percent), (.gain | points), .verdict]]
| (transpose | map(map(length) | max)) as $widths
| map([., $widths] | transpose | map(.[0] as $cell | .[1] as $w | $cell | pad($w)) | "| " + join(" | ") + " |")
| "# \($b.experiment) (\($b.suite.name)) against \($base.experiment)\n",
  .[0],
  "|" + ($widths | map("--------------------"[0:.] + "--") | join("|")) + "|",
  .[1:][],
  "\nVerdict: **\($b.verdict)**. Overall \($b.overall | percent), 95% interval \($b.ci95[0] | percent)"
  + " to \($b.ci95[1] | percent).",
  (if $b.errors then "**\($b.errors) prompts have no answer** and count nowhere." else empty end),
  $compared.notes[],
  ($compared.calls | if . == {} then empty else
     "\(.build.n) validation rows: right format \(.build.format | percent), tools \(.build.tools | percent),"
     + "\narguments \(.build.arguments | percent), 95% interval \(.build.ci95[0] | percent) to \(.build.ci95[1] | percent).",
     (if .n == 0 then empty else
      "Difference on these rows: \(.difference | points) points, 95% interval \(.ci95[0] | points) to \(.ci95[1] | points) (\(.n) rows)." end) end),
  (if $compared.for == [] then empty else "\nFor it:\n", ($compared.for[] | "- " + .) end),
  (if $compared.against == [] then empty else "\nAgainst it:\n", ($compared.against[] | "- " + .) end),
  (if $compared.for + $compared.against == [] then empty else "" end),
  (if $list == "" or $compared.n == 0 then empty
   elif $compared.changed == [] then "\nNo prompt\u0027s score changed."
   else "\nChanged:\n", ($compared.changed[] | "- \(.id): \(.before * 100 | round / 100) -> \(.after * 100 | round / 100)") end)
