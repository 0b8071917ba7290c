#!/usr/bin/env bash
# Installs one group of packages into .venv from its hashed lock, with uv or with plain pip.
#
#   bin/setup.sh base       the recipe itself      py/requirements.lock
#   bin/setup.sh embedded   the demo's base model  py/requirements-embedded.lock
#   bin/setup.sh plot       pictures               py/requirements-plot.lock
#   bin/setup.sh dev        tests and lint         py/requirements-dev.lock
#   bin/setup.sh cuda13     mlx for NVIDIA GPUs    py/requirements-cuda13.lock (or cuda12)
#
# A group is done when .venv/<group>.installed holds the checksum of its lock; a changed base
# lock makes a new .venv. PYTHON3 names the Python to use.
set -euo pipefail
cd "$(dirname "$0")/.."

group=$1
lock=py/requirements.lock
[ "$group" = base ] || lock=py/requirements-$group.lock
done_file=.venv/$group.installed
log=build/setup.log

stop() {
    echo "setup: $*" >&2
    exit 2
}

checksum=$(cksum <"$lock")
if [ -f "$done_file" ] && [ "$(cat "$done_file")" = "$checksum" ]; then
    touch "$done_file" # the lock is newer but the same: content decides
    exit 0
fi

is_recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local name
    for name in ${PYTHON3:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$name" >/dev/null && is_recent_python "$name"; then
            command -v "$name"
            return
        fi
    done
    stop "Python 3.11 or newer is needed (mlx-lm 0.32.2 asks for it), found" \
        "$(${PYTHON3:-python3} --version 2>&1 | head -1 || true); install it" \
        "(brew install python, apt-get install python3) or name one: make setup PYTHON3=/path/to/python3"
}

install_packages() {
    local flags=$1 # --no-deps or nothing
    if command -v uv >/dev/null; then
        # shellcheck disable=SC2086  # empty flags must vanish
        uv pip install --python .venv/bin/python --require-hashes $flags -r "$lock"
    else
        # shellcheck disable=SC2086
        .venv/bin/python -m pip install --disable-pip-version-check --retries 2 \
            --require-hashes $flags -r "$lock"
    fi
}

uninstall() { # packages that may be there
    if command -v uv >/dev/null; then
        uv pip uninstall --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip uninstall --yes "$@"
    fi
}

command -v jq >/dev/null ||
    stop "jq is not installed; it makes the comparison table: brew install jq, or apt-get install jq"

{ mkdir -p build && : >>"$log"; } 2>/dev/null ||
    stop "cannot write $log; make the folder build/ writable and run make setup again"

cuda= # the NVIDIA group that is installed, if any
for note in .venv/cuda1?.installed; do
    [ ! -f "$note" ] || cuda=$(basename "$note" .installed)
done
case $group in cuda*)
    [ "$(uname -s)" = Linux ] || stop "MLX=$group is for Linux with an NVIDIA GPU; a Mac needs no MLX="
    command -v nvidia-smi >/dev/null ||
        stop "MLX=$group: no NVIDIA driver here (nvidia-smi is not found); install it, or leave MLX= out"
    # All builds of mlx have their library under one name: another one must go first.
    rm -rf .venv/fast_blas .venv/base.installed .venv/cuda1?.installed
    uninstall mlx-cpu mlx-cuda-12 mlx-cuda-13 >>"$log" 2>&1 || true
    ;;
esac

if [ "$group" = base ]; then
    python=$(find_python)
    rm -rf .venv
    if command -v uv >/dev/null; then
        uv venv --quiet --no-python-downloads --python "$python" .venv >>"$log" 2>&1
    else
        "$python" -m venv .venv >>"$log" 2>&1
    fi || stop "$python cannot make a virtual environment (on Debian: apt-get install python3-venv); see $log"
fi

[ -n "${QUIET:-}" ] || echo "setup: installing $lock into .venv ..." >&2
flags=
[ "$group" = embedded ] && flags=--no-deps
install_packages "$flags" >>"$log" 2>&1 ||
    stop "could not install $lock: no network, or no wheel for this system" \
        "(mlx needs macOS 14 on Apple silicon, or Linux with glibc 2.35); see $log, then run make setup again"

[ "$group" = base ] && bin/fast_blas.sh
case $group in cuda*)
    .venv/bin/python -c 'import mlx.core as mx; mx.eval(mx.ones(8) + 1)' >>"$log" 2>&1 ||
        stop "mlx for $group does not run here ($(tail -1 "$log")); it needs an NVIDIA GPU and its driver." \
            "make setup without MLX= goes back to the CPU"
    cksum <py/requirements.lock >.venv/base.installed
    ;;
esac
echo "$checksum" >"$done_file"
[ "$group" != base ] || [ -z "$cuda" ] || exec bin/setup.sh "$cuda"
