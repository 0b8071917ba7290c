#!/usr/bin/env bash
# Is there room on the disk for a model that is about to be written?
#
#   bin/space.sh OUT FACT   FACT of preflight.json has its bytes: fused_bytes, q5_bytes, twin_bytes
set -euo pipefail
out=$1
build=$(dirname "$out")
need=$(jq ".facts.model.$2 // 0" "$build/preflight.json")
free=$(df -Pk "$build" | awk 'NR == 2 { print $4 * 1024 }')
awk -v need="$need" -v free="$free" -v out="$out" -v build="$build" 'BEGIN {
    if (need <= free) exit 0
    printf "%s takes %s, %s has %s free; free some (make clean-build removes the models of an earlier run), then make goes on from here\n", out, size(need), build, size(free)
    exit 1
}
function size(n) { return n < 1e9 ? sprintf("%.1f MB", n / 1e6) : sprintf("%.1f GB", n / 1e9) }' >&2
