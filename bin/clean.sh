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
build=${build:-/}

stop() {
    echo "clean: $*" >&2
    exit 2
}

[ ! -L "$build" ] || stop "$build is a symbolic link; name the folder itself with BUILD="
if [ -d "$build" ]; then
    real=$(cd "$build" && pwd -P)
    real=${real%/} # nothing is left of /
    for folder in "$(pwd -P)" "$(cd ~ && pwd -P)"; do
        case $folder/ in "$real"/*) stop "BUILD=$build holds $folder; refusing" ;; esac
    done
fi
if [ ! -f "$build/.phase40-build" ]; then
    echo "clean: $build has no .phase40-build, so this recipe made nothing there; nothing to free"
    exit 0
fi
# A step that runs holds a lock on the folder (py/logged.py).
python3 -c 'import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
    "$build" 2>/dev/null || stop "a make is at work in $build; wait for it"

names="data fused q5 q5-float32 served-base"
for model in "$build"/judged/*/model "$build"/quants/*-*; do
    names="$names ${model#"$build"/}"
done
if [ "$what" = all ] || [ ! -L "$build/base" ]; then
    names="$names base" # a link to a model elsewhere takes no disk
fi
if [ "$what" = all ]; then
    names="$names adapters adapters.training sweep judged quants logs made models.json answers.jsonl"
    names="$names preflight.ok preflight.json ladder.json eval.json eval.incomplete.json eval_base.json"
    names="$names eval_base.incomplete.json compare.md sweep.md quants.md manifest.json report.html runs.html"
    names="$names .phase40-build"
fi
before=$(du -sk "$build" | cut -f 1)
for name in $names; do
    for path in "$build/$name" "$build/$name.tmp"; do
        if [ -e "$path" ] || [ -L "$path" ]; then
            rm -rf "$path"
            echo "clean: removed $path"
        fi
    done
done
after=$(du -sk "$build" | cut -f 1)
rmdir "$build" 2>/dev/null || true
echo "clean: freed $(((before - after) * 1024 / 1000000)) MB in $build"
