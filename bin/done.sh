#!/usr/bin/env bash
# Ends a step: moves OUTPUT.tmp to OUTPUT, notes what it was made of, and says what was made.
#
#   bin/done.sh OUTPUT [NAME LINE]     LINE goes to made/NAME beside OUTPUT
#
# The old note goes first and the new one comes last. Killed in between, the next make repeats the step.
set -euo pipefail
output=$1 name=${2:-} line=${3:-}
folder=$(dirname "$output") file=$(basename "$output")

[ -e "$output.tmp" ] || {
    echo "$output: not made; $folder/logs/${file%.*}.log says why" >&2
    exit 1
}
mkdir -p "$folder/made" "$folder/logs"
[ -z "$name" ] || rm -f "$folder/made/$name"
rm -rf "$output"
mv "$output.tmp" "$output"
[ -z "$name" ] || echo "$line" >"$folder/made/$name"
echo "made $output ($(du -sh "$output" | cut -f 1 | tr -d ' '))" | tee -a "$folder/logs/${file%.*}.log"
