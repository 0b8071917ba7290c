#!/usr/bin/env bash
# Puts adapters that were trained elsewhere in the place of a training.
#
#   bin/adopt.sh ADAPTERS BUILD LINE     LINE goes to made/train, as after a training
set -euo pipefail
adapters=$1 build=$2 line=$3
for file in adapters.safetensors adapter_config.json; do
    [ -f "$adapters/$file" ] || {
        echo "adopt: ADAPTERS=$adapters: no $file there; name the folder of a training" >&2
        exit 2
    }
done
rm -rf "$build/adapters.tmp"
cp -R "$adapters" "$build/adapters.tmp"
training=$adapters/training.json
[ -f "$training" ] || training=/dev/null
jq -n --arg from "$adapters" '(input? // {schema: 1}) + {adopted: $from}' "$training" \
    >"$build/adapters.tmp/training.json"
bin/done.sh "$build/adapters" train "$line"
