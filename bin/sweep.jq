# A table of several eval.json: each draw, then the mean and the spread of each temperature.
def percent: . * 1000 | round / 10 | "\(.)%";
def pad(width): tostring + "                    " | .[0:width];
def mean: add / length;
def spread: mean as $m | if length < 2 then 0 else (map(. - $m | . * .) | add / (length - 1) | sqrt) end;
def line: map(pad(12)) | "  " + join("") | sub(" +$"; "");

(["temperature", "seed", "score", "strict", "verdict"] | line),
(.[] | [.settings.temperature, .settings.seed, (.overall | percent), (.strict_overall | percent), .verdict] | line),
"",
(["temperature", "draws", "mean", "spread", "strict mean"] | line),
(group_by(.settings.temperature)[]
 | [.[0].settings.temperature, length, (map(.overall) | mean | percent), (map(.overall) | spread | percent),
    (map(.strict_overall) | mean | percent)] | line)
