#!/usr/bin/env bash
# Removes what the recipe made in a build folder, by name, and says how much disk that frees.
#
#   bin/clean.sh BUILD models   the models: gigabytes that make builds again in minutes
#   bin/clean.sh BUILD all      everything that the recipe makes there
#
# It touches nothing else there, and no folder that the recipe has not marked as its own.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1%/} what=$2

stop() {
    echo "clean: $*" >&2
    exit 2
}

nothing() {
    echo "clean: $build has nothing of this recipe; nothing to free"
    exit 0
}

[ -n "$build" ] || stop "BUILD=$1 is no build folder; refusing"
[ -d "$build" ] || nothing
[ ! -L "$build" ] || stop "$build is a symbolic link; name the folder itself with BUILD="
real=$(cd "$build" && pwd -P)
for folder in "$(pwd -P)" "$(cd ~ && pwd -P)"; do
    case "$folder/" in "$real"/*) stop "BUILD=$build holds $folder; refusing" ;; esac
done

names="base data fused q5 q5-float32 base.tmp data.tmp adapters.tmp fused.tmp q5.tmp q5-float32.tmp"
results="adapters adapters.training sweep judged logs made models.json answers.jsonl"
for name in preflight.ok preflight.json ladder.json eval.json eval_base.json compare.md manifest.json report.html; do
    results="$results $name $name.tmp"
done
results="$results eval.incomplete.json eval_base.incomplete.json"

if [ ! -f "$build/.phase40-build" ]; then
    for name in $names $results; do
        [ ! -e "$build/$name" ] || stop "BUILD=$build was not made by this recipe (it has no .phase40-build); refusing"
    done
    nothing
fi
# A step that runs holds a lock on the folder (py/logged.py).
python3 -c 'import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
    "$build" 2>/dev/null || stop "a make is at work in $build; wait for it"

[ "$what" = models ] || names="$names $results .phase40-build"
freed=0
for name in $names; do
    path=$build/$name
    [ -e "$path" ] && [ ! -L "$path" ] || continue
    kilobytes=$(du -sk "$path" | cut -f 1)
    freed=$((freed + kilobytes))
    rm -rf "$path"
    echo "clean: removed $path ($((kilobytes * 1024 / 1000000)) MB)"
done
if [ "$what" = all ]; then
    rm -f "$build/base" # a link to a model that is elsewhere
    rmdir "$build" 2>/dev/null || true
fi
echo "clean: freed $((freed * 1024 / 1000000)) MB in $build"
