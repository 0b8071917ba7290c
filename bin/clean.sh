#!/usr/bin/env bash
# Removes what the recipe made in a build folder, by name, and says what that freed.
#
#   bin/clean.sh BUILD models   the models: gigabytes that can be made again in minutes
#   bin/clean.sh BUILD all      everything the recipe makes there
#
# Nothing else in the folder is touched, and no folder that the recipe has not marked as its own.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${1%/} what=$2
stop() {
    echo "clean: $*" >&2
    exit 2
}
[ -n "$build" ] || stop "BUILD=$1 is not a build folder; refusing"
[ -d "$build" ] || {
    echo "clean: $build does not exist; nothing to free"
    exit 0
}
[ ! -L "$build" ] || stop "$build is a symbolic link; name the folder itself with BUILD="
real=$(cd "$build" && pwd -P)
# The repository, the home folder and every folder above them are nobody's build folder.
case "$(pwd -P)/" in "$real"/*) stop "BUILD=$build holds this repository; refusing" ;; esac
case "$(cd ~ && pwd -P)/" in "$real"/*) stop "BUILD=$build holds the home folder; refusing" ;; esac
models="rehearsal base data fused q5 q5-float32 base.tmp adapters.tmp data.tmp fused.tmp q5.tmp q5-float32.tmp logs/empty_hub_cache empty_hub_cache"
results="adopted adapters.training base_model.json reference_model.json sweep reproduce adapters curves.svg curves.png ladder.json preflight.ok preflight.json eval.json eval.answers.jsonl eval_base.answers.jsonl eval.incomplete.json eval_base.incomplete.json eval_base.json compare.md report.html report.md made manifest.json logs .phase40-build"
names=$models
[ "$what" = models ] || names="$models $results"

if [ ! -f "$build/.phase40-build" ]; then
    for name in $models $results; do
        [ ! -e "$build/$name" ] ||
            stop "BUILD=$build was not made by this recipe (no .phase40-build); refusing"
    done
    [ ! -L "$build/.lock" ] || rm -f "$build/.lock" # of this very make
    rmdir "$build" 2>/dev/null || true
    echo "clean: $build has nothing of this recipe; nothing to free"
    exit 0
fi

freed=0
for name in $names; do
    path=$build/$name
    if [ ! -e "$path" ] || [ -L "$path" ]; then continue; fi
    kilobytes=$(du -sk "$path" | cut -f1)
    rm -rf "$path"
    freed=$((freed + kilobytes))
    echo "clean: removed $path ($((kilobytes * 1024 / 1000000)) MB)"
done
rm -f "$build/.lock"
[ "$what" = models ] || rmdir "$build" 2>/dev/null || true
echo "clean: freed $((freed * 1024 / 1000000)) MB in $build"
