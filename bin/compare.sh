#!/usr/bin/env bash
# Prints the comparison of two results as a Markdown table.
#
#   bin/compare.sh BASELINE RESULT TARGETS [changed]
#
# BASELINE is an eval.json, or data/baseline.json, which has no prompts. With "changed" the prompts
# whose score changed are listed too.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
compared=$("$root/.venv/bin/python" "$root/py/compare.py" "$1" "$2" "$3")
printf '%s\n' "$compared" | jq --raw-output --slurpfile baseline "$1" --slurpfile build "$2" \
    --arg list "${4:-}" --from-file "$root/bin/compare.jq"
