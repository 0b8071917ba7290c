#!/usr/bin/env bash
# Adapters that were trained elsewhere, with this config, take the place of a training here.
#
#   bin/adopt.sh ADAPTERS BUILD TYPE LAYERS RANK SCALE
#
# BUILD/adopted has their sha256: the stages after them are made of it, and a training removes it.
set -euo pipefail
cd "$(dirname "$0")/.."
adapters=$1 build=$2

stop() {
    echo "adopt: $*" >&2
    exit 2
}
[ -f "$adapters/adapter_config.json" ] || stop "ADAPTERS=$adapters: no adapter_config.json there"
jq --exit-status --arg type "$3" --argjson layers "$4" --argjson rank "$5" --argjson scale "$6" \
    '.fine_tune_type == $type and .num_layers == $layers
        and ($type == "full" or (.lora_parameters | .rank == $rank and .scale == $scale))' \
    "$adapters/adapter_config.json" >/dev/null 2>&1 ||
    stop "$adapters/adapter_config.json: not of this config (FINE_TUNE_TYPE=$3, NUM_LAYERS=$4, LORA_RANK=$5, LORA_SCALE=$6)"

bin/sha256.sh "$adapters/adapters.safetensors" >"$build/adopted"
bin/stages.sh begin train "$build/adapters" "those of $adapters"
rm -rf "$build/adapters.tmp"
cp -R "$adapters" "$build/adapters.tmp"
bin/stages.sh finish train "$build/adapters" eval
