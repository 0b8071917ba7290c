#!/usr/bin/env bash
# Removes what the recipe made in a build folder, by name, and says what that freed.
#
#   bin/clean.sh BUILD models   the models: gigabytes that can be made again in minutes
#   bin/clean.sh BUILD all      everything the recipe makes there
#
# Nothing else in the folder is touched: not another experiment's folder, not a stranger's file.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$1 what=$2
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
case "$real" in
/ | "$(cd "$HOME" && pwd -P)" | "$(pwd -P)") stop "BUILD=$build is not a build folder; refusing" ;;
esac

models="base fused q5 q5-float32 base.tmp adapters.tmp fused.tmp q5.tmp q5-float32.tmp logs/empty_hub_cache"
results="adapters preflight.ok preflight.json eval.json eval_base.json compare.md made logs"
names=$models
[ "$what" = models ] || names="$models $results"

freed=0
for name in $names; do
    path=$build/$name
    if [ ! -e "$path" ] || [ -L "$path" ]; then continue; fi
    kilobytes=$(du -sk "$path" | cut -f1)
    rm -rf "$path"
    freed=$((freed + kilobytes))
    [ "$kilobytes" -lt 1024 ] || echo "clean: removed $path ($((kilobytes / 1024)) MB)"
done
[ "$what" = models ] || rmdir "$build" 2>/dev/null || true
echo "clean: freed $((freed / 1024)) MB in $build"
