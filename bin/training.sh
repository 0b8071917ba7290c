#!/usr/bin/env bash
# What stands around a training.
#
#   bin/training.sh begin FOLDER LOGS [RESUME]   an empty FOLDER; with RESUME=1 the one of a
#                                                training that broke off, its log put aside
#   bin/training.sh yaml RANK SCALE DROPOUT OPTIMIZER SCHEDULE RATE ITERS ACCUMULATION
#                                                prints what mlx_lm lora has no flag for
#   bin/training.sh end FOLDER LOGS ADAPTERS     the whole log, and the YAML, beside the adapters
set -euo pipefail
what=$1
shift

case $what in
begin)
    if [ "${3:-}" = 1 ]; then
        [ ! -f "$1/inputs.json" ] || cat "$2/train.log" >>"$1/earlier.log"
    else
        rm -rf "$1"
    fi
    mkdir -p "$1"
    touch "$1/earlier.log"
    ;;
yaml)
    rank=$1 scale=$2 dropout=$3 optimizer=$4 schedule=$5 rate=$6 updates=$(($7 / $8))
    echo "lora_parameters: {rank: $rank, scale: $scale, dropout: $dropout}"
    case $schedule in
    cosine_decay) echo "lr_schedule: {name: cosine_decay, arguments: [$rate, $updates]}" ;;
    linear_schedule) echo "lr_schedule: {name: linear_schedule, arguments: [$rate, 0.0, $updates]}" ;;
    esac
    # Left to itself it would choose its own rate.
    [ "$optimizer" != adafactor ] || echo "optimizer_config: {adafactor: {relative_step: false}}"
    ;;
end)
    cat "$1/earlier.log" "$2/train.log" "$2/best.log" >"$3/train.log"
    cp "$1/lora.yaml" "$3"
    ;;
esac
