# A table of several eval.json: each draw, then the mean and the spread of each temperature. A draw of
# TRAIN_SEEDS is of the model in sweep/train-SEED, which names the seed of its training.
def percent: if . == null then "-" else "\(. * 1000 | round / 10)%" end;
def pad(width): tostring + "                    " | .[0:width];
def mean: add / length;
def spread: if length < 2 then null else mean as $m | map(. - $m | . * .) | add / (length - 1) | sqrt end;
def line: map(pad(12)) | "  " + join("") | sub(" +$"; "");
def train_seed: (.model.path | capture("sweep/train-(?<seed>[0-9]+)/[^/]*$").seed) // "-";

(["temperature", "seed", "train seed", "score", "strict", "verdict"] | line),
(.[] | [.settings.temperature, .settings.seed, train_seed, (.overall | percent), (.strict_overall | percent), .verdict] | line),
"",
(["temperature", "draws", "mean", "spread", "strict mean"] | line),
(group_by(.settings.temperature)[]
 | [.[0].settings.temperature, length, (map(.overall) | mean | percent), (map(.overall) | spread | percent),
    (map(.strict_overall) | mean | percent)] | line)
