#!/usr/bin/env bash
# What there is and what would be made again, for a person.
#
#   bin/status.sh why      each stage: up to date, or what made it stale; on a terminal in 80 columns
#   bin/status.sh status   each stage with the size and date of its output, and the scores
set -euo pipefail
cd "$(dirname "$0")/.."

wide=9999 # a pipe gets a line for each stage
[ ! -t 1 ] || wide=68

while IFS='|' read -r stage output reason; do
    [ "$stage" != sweep ] || continue
    if [ "$reason" = "up to date" ] && [ ! -e "$output" ]; then
        reason="up to date; its output is gone, and is made again when something needs it"
    fi
    if [ "$1" = why ]; then
        printf '%-10s %s\n' "$stage" "$(fold -s -w "$wide" <<<"$reason" | sed '2,$s/^/           /')"
        continue
    fi
    size=- date=-
    if [ -e "$output" ]; then
        size=$(bin/size.sh "$output")
        # shellcheck disable=SC2012  # one known name, for its date
        date=$(LC_ALL=C ls -ldn "$output" | awk '{ print $6, $7, $8 }')
    fi
    case $reason in "up to date") state="up to date" ;; "not made yet") state=- ;; up*) state="not kept" ;; *) state=stale ;; esac
    printf '%-10s %-10s %9s  %-12s  %s\n' "$stage" "$state" "$size" "$date" "$output"
done < <(bin/stages.sh why)

[ "$1" = status ] || exit 0
echo
if [ -f "$BUILD_FOLDER/adapters/training.json" ]; then
    jq --raw-output '"training   loss \(.base_val_loss * 1000 | round / 1000) -> \(.best_val_loss * 1000 | round / 1000) at iteration \(.best_iteration) of \(.iterations)"' \
        "$BUILD_FOLDER/adapters/training.json"
fi
for result in eval eval_base; do
    if [ -f "$BUILD_FOLDER/$result.json" ]; then
        jq --raw-output --arg name "$result" '"\($name)            "[0:11] + "\(.overall * 1000 | round / 10)%, strict \(.strict_overall * 1000 | round / 10)%, \(.verdict)"' \
            "$BUILD_FOLDER/$result.json"
    fi
done
if [ -e "$BUILD_FOLDER/adapters.training/inputs.json" ]; then
    if [ -n "$(bin/lock.sh "$BUILD_FOLDER")" ]; then
        echo "A training is under way."
    else
        echo "A training was interrupted: make train RESUME=1${AS_ASKED:+ $AS_ASKED} goes on with it."
    fi
fi
