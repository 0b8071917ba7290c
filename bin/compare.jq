# The comparison table: $build (eval.json), $baseline (eval.json's or data/baseline.json's shape)
# and $targets, each read with --slurpfile.
def percent: if . == null then "-" else (. * 1000 | round / 10 | tostring + "%") end;
def points: if . == null then "-" else (. * 1000 | round / 10 | if . > 0 then "+\(.)" else tostring end) end;
def row(name; n; baseline; target; build):
  [name, n, (baseline | percent), (target | if . == null then "-" else ">= " + percent end), (build | percent),
   (if baseline == null then null else build - baseline end | points),
   (if target == null then "-" elif build >= target then "pass" else "FAIL" end)]
  | "| " + (map(tostring) | join(" | ")) + " |";

$build[0] as $b | $baseline[0] as $base | $targets[0].targets as $t
| "# \($b.experiment) against \($base.experiment)\n",
  "| category | n | baseline | target | this build | difference | |",
  "|---|---|---|---|---|---|---|",
  ($b.categories | to_entries[] | .key as $name
   | row($name; .value.n; $base.categories[$name].score; $t.categories[$name]; .value.score)),
  row("overall"; $b.suite.n; $base.overall; $t.overall; $b.overall),
  "",
  "Verdict: **\($b.verdict)**. Overall \($b.overall | percent), 95% interval"
  + " \($b.ci95[0] | percent) to \($b.ci95[1] | percent); counting real calls only: \($b.strict_overall | percent)."
