#!/usr/bin/env bash
# Runs a command under mlx.launch, on several machines or several times on this one.
#
#   bin/launch.sh WORKERS HOSTS BATCH_SIZE COMMAND...
#
# HOSTS is a hosts.json of mlx.launch, or "none": then WORKERS processes on this machine. Each worker
# takes its share of every batch. mlx.launch ends with 0 whatever its workers do: whether
# training came to its end stands in training.json.
set -eu
workers=$1 hosts=$2 batch=$3
shift 3
root=$(cd "$(dirname "$0")/.." && pwd)
stop() {
    echo "launch: $*" >&2
    exit 2
}

if [ "$hosts" = none ]; then
    case $workers in '' | *[!0-9]* | 0*) stop "WORKERS=$workers: expected a number of processes" ;; esac
    # Any ports will do, but two trainings on one machine must not take the same.
    where="-n $workers --starting-port $((20000 + $$ % 400 * 100))"
else
    [ -f "$hosts" ] || stop "HOSTS=$hosts: no such file; the README shows one"
    workers=$(jq --exit-status '(.hosts? // .) | arrays | map(.ssh | strings) | length | select(. > 0)' "$hosts" 2>/dev/null) ||
        stop "HOSTS=$hosts: not a hosts.json of mlx.launch; the README shows one"
    jq --exit-status '.backend? // "" | startswith("jaccl")' "$hosts" >/dev/null 2>&1 ||
        jq --exit-status '(.hosts? // .) | all(.[]; (.ips | type) == "array" and (.ips | length) > 0)' "$hosts" >/dev/null 2>&1 ||
        stop "HOSTS=$hosts: the ring needs the address of each machine: \"ips\": [\"192.168.1.11\"]"
    [ "$workers" != 1 ] || stop "HOSTS=$hosts: a hosts.json of one machine; leave HOSTS out to train here"
    where=
fi
[ $((batch % workers)) = 0 ] ||
    stop "BATCH_SIZE=$batch cannot be shared by $workers workers; make it a multiple of $workers"

# mlx.launch passes its input on and would spin on one that has ended: give it one that never does.
scratch=$(mktemp -d)
mkfifo "$scratch/input"
exec 0<>"$scratch/input"
rm -r "$scratch"

# Ctrl-C reaches the workers too, and ends them; the launcher then ends by itself.
trap '' INT

if [ -n "$where" ]; then
    # shellcheck disable=SC2086  # options
    exec "$root/.venv/bin/mlx.launch" $where -- "$@"
else
    exec "$root/.venv/bin/mlx.launch" --hostfile "$hosts" -- "$@"
fi
