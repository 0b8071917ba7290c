#!/usr/bin/env bash
# Uploads a model to the Hugging Face hub: shows what it would do, and asks.
#
#   bin/upload.sh ORG/NAME MODEL
#
# By huggingface_hub's own command. mlx_lm upload would replace the text of the model card.
set -euo pipefail
cd "$(dirname "$0")/.."
repo=$1 model=$2

stop() {
    echo "upload: $*" >&2
    exit 2
}
case $repo in
*/*/* | */ | /*) stop "REPO=$repo: expected org/name" ;;
*/*) ;;
*) stop "REPO=$repo: expected org/name: make upload REPO=you/model" ;;
esac
[ -f "$model/README.md" ] || stop "$model: no model here; make quantize${AS_ASKED:+ }${AS_ASKED:-} makes it"

echo "To ${HF_ENDPOINT:-https://huggingface.co}/$repo (made there, private, if there is none yet):"
for file in "$model"/*; do
    wc -c "$file" | awk '{ printf "  %12.1f MB  %s\n", $1 / 1e6, $2 }'
done
grep -q '^model-index:' "$model/README.md" ||
    echo "The card has no evaluation: these weights have not been evaluated."
grep -q '^license:' "$model/README.md" ||
    echo "The card names no license: the base model's is not known; add a line 'license: ...' to $model/README.md."
printf 'Upload? [y/N] '
read -r answer || answer=
case $answer in
y | Y | yes) ;;
*)
    echo "Nothing was uploaded."
    exit 0
    ;;
esac
HF_HUB_OFFLINE=0 exec bin/python -m huggingface_hub.cli.hf upload "$repo" "$model" --private
