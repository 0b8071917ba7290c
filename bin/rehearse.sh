#!/usr/bin/env bash
# The recipe at full size on random weights, in a folder that goes when it ends, however it ends.
#
#   bin/rehearse.sh CONFIG FOLDER TOKENIZER
set -euo pipefail
cd "$(dirname "$0")/.."
config=$1 folder=$2 tokenizer=$3
demo=build/demo/base

trap 'rm -rf "$folder"' EXIT
trap 'exit 130' HUP INT TERM
rm -rf "$folder"

again() { # make, with nothing of what the outer make was given but through the rehearsal's config
    # shellcheck disable=SC2046  # KEY=value words, without spaces
    make --no-print-directory "$@" CONFIG="$folder/rehearsal.env" $(grep '^[A-Z]' "$folder/rehearsal.env") \
        LEAN= RESUME= WORKERS=1 HOSTS=none
}

echo
echo "== rehearse: $config at full size on random weights"
bin/python py/rehearse.py prepare --config "$config" --tokenizer "$tokenizer" --out "$folder"
if [ "$tokenizer" = "$demo" ]; then
    make --no-print-directory "$demo" CONFIG=demo.env BUILD=build/demo BASE_MODEL="$demo"
fi
mkdir -p "$folder/build/logs"
bin/python py/logged.py "$folder/build/logs/model.log" bin/python py/random_model.py \
    --shape "$folder/shape.json" --tokenizer "$tokenizer" --out "$folder/model"
[ ! -d "$folder/adapters" ] || again adopt ADAPTERS="$folder/adapters"
again eval
echo
bin/python py/rehearse.py table "$folder"
