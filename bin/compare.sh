#!/usr/bin/env bash
# Prints the comparison of two results as a Markdown table.
#
#   bin/compare.sh BASELINE RESULT TARGETS [changed]
#
# BASELINE is an eval.json, or data/baseline.json, which has no prompts. With "changed" the prompts
# whose score changed are listed too.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
for file in "$1" "$2" "$3"; do
    [ -f "$file" ] || {
        echo "compare: $file: no such file" >&2
        exit 2
    }
done
difference=$("$root/.venv/bin/python" "$root/py/difference.py" "$1" "$2")
jq --null-input --raw-output --slurpfile baseline "$1" --slurpfile build "$2" --slurpfile targets "$3" \
    --argjson difference "$difference" --arg list "${4:-}" --from-file "$root/bin/compare.jq"
