#!/usr/bin/env bash
# Removes what the recipe made in a build folder, by name, and says how much disk that frees.
#
#   bin/clean.sh BUILD models   the models: gigabytes that make builds again in minutes
#   bin/clean.sh BUILD all      everything that the recipe makes there
#
# It touches nothing else there, and no folder that the recipe has not marked as its own.
set -euo pipefail
build=${1%/} what=$2

stop() {
    echo "clean: $*" >&2
    exit 2
}

[ -d "$build" ] || {
    echo "clean: $build does not exist; nothing to free"
    exit 0
}
[ ! -L "$build" ] || stop "$build is a symbolic link; name the folder itself with BUILD="
real=$(cd "$build" && pwd -P)
for folder in "$(pwd -P)" "$(cd ~ && pwd -P)"; do
    case "$folder/" in "$real"/*) stop "BUILD=$build holds $folder; refusing" ;; esac
done
[ -f "$build/.phase40-build" ] ||
    stop "BUILD=$build was not made by this recipe (it has no .phase40-build); refusing"
# A step that runs holds a lock on the folder (py/logged.py).
python3 -c 'import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
    "$build" 2>/dev/null || stop "a make is at work in $build; wait for it"

names="base data fused q5 q5-float32 base.tmp data.tmp adapters.tmp fused.tmp q5.tmp q5-float32.tmp"
if [ "$what" = all ]; then
    names="$names adapters adapters.training sweep logs made models.json .phase40-build"
    for name in preflight.ok preflight.json ladder.json eval.json eval_base.json compare.md manifest.json report.html; do
        names="$names $name $name.tmp"
    done
    names="$names eval.answers.jsonl eval_base.answers.jsonl eval.incomplete.json eval_base.incomplete.json"
fi

freed=0
for name in $names; do
    path=$build/$name
    [ -e "$path" ] && [ ! -L "$path" ] || continue
    kilobytes=$(du -sk "$path" | cut -f 1)
    freed=$((freed + kilobytes))
    rm -rf "$path"
    echo "clean: removed $path ($((kilobytes * 1024 / 1000000)) MB)"
done
[ "$what" = models ] || rm -f "$build/base" # a link to a model elsewhere
[ "$what" = models ] || rmdir "$build" 2>/dev/null || true
echo "clean: freed $((freed * 1024 / 1000000)) MB in $build"
