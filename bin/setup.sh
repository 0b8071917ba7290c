#!/usr/bin/env bash
# Installs a group of packages into .venv from its lock with hashes, by uv or by pip.
#
#   bin/setup.sh GROUP     base, embedded, bfcl, dev, cuda12 or cuda13
#
# .venv/GROUP.installed has the checksum of the lock that was installed. A changed lock is installed
# into the .venv that is there: a training may be running from it. PYTHON3 names the Python to use.
set -euo pipefail
cd "$(dirname "$0")/.."

group=$1
lock=py/requirements-$group.lock
[ "$group" != base ] || lock=py/requirements.lock
note=.venv/$group.installed
log=build/setup.log

stop() {
    echo "setup: $*" >&2
    exit 2
}

is_recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

venv_works() {
    [ -f .venv/base.installed ] && is_recent_python .venv/bin/python
}

pip() {
    if command -v uv >/dev/null; then
        UV_COMPILE_BYTECODE=1 uv pip "$@" --python .venv/bin/python
    else
        .venv/bin/python -m pip "$@" --retries 2
    fi >>"$log" 2>&1
}

install_lock() {
    echo "setup: installing $1 into .venv ..." >&2
    # --no-deps: a lock names all that is wanted.
    pip install --require-hashes --no-deps -r "$1" ||
        stop "could not install $1: no network, or no wheel for this system (mlx needs macOS 14 on" \
            "Apple silicon, or Linux with glibc 2.35); see $log, then run make setup again"
}

command -v jq >/dev/null ||
    stop "jq is not installed; it makes the comparison table: brew install jq, or apt-get install jq"
if [[ $group == cuda* ]] && ! command -v nvidia-smi >/dev/null; then
    stop "MLX=$group needs Linux and an NVIDIA driver, and nvidia-smi is not found; install the driver," \
        "or run make setup without MLX= (a Mac needs no MLX=)"
fi
[ "$group" = base ] || venv_works || bin/setup.sh base

# The Python that makes .venv. If .venv is there, its own Python will do.
python=
for name in ${PYTHON3:-python3 python3.14 python3.13 python3.12 python3.11} .venv/bin/python; do
    if [ -z "$python" ] && is_recent_python "$name"; then python=$name; fi
done
[ -n "$python" ] || stop "Python 3.11 or newer is needed, found" \
    "$(${PYTHON3:-python3} --version 2>&1 || true); install it (brew install python," \
    "apt-get install python3) or name one: make setup PYTHON3=/path/to/python3"

# Two makes may find the same lock changed: the second waits here, then finds the work done. The log
# is open as file 9 in this shell and its children. Python locks it (macOS has no flock command),
# and the lock ends with these processes, even when they are killed.
mkdir -p build
exec 9>>"$log"
if ! "$python" -c 'from fcntl import *; flock(9, LOCK_EX | LOCK_NB)' 2>/dev/null; then
    echo "setup: another make is installing packages; waiting for it ..." >&2
    "$python" -c 'from fcntl import *; flock(9, LOCK_EX)' 2>/dev/null ||
        stop "cannot lock $log: clone the repository to a local disk"
fi
checksum=$(cksum <"$lock")
if venv_works && [ "$(cat "$note" 2>/dev/null)" = "$checksum" ]; then
    touch "$note" # the lock's date is newer, its content is the same
    exit 0
fi

if ! venv_works; then
    [ ! -d .venv ] || echo "setup: .venv is not whole, or its python does not start; making a new one" >&2
    "$python" -m venv --clear .venv >>"$log" 2>&1 ||
        stop "$python cannot make a virtual environment (on Debian: apt-get install python3-venv); see $log"
fi
cuda= # mlx for NVIDIA: the one that is asked for, or that is there when base changes
for name in cuda12 cuda13; do
    if [ "$group" = $name ] || { [ "$group" = base ] && [ -f .venv/$name.installed ]; }; then cuda=$name; fi
done
[ "$group" = "$cuda" ] || install_lock "$lock"
if [ -n "$cuda" ]; then
    # All builds of mlx have their library under one name: the one that is there must go first.
    # Until base.installed is back, the next setup begins with a new .venv.
    rm -rf .venv/base.installed .venv/fast_blas
    pip uninstall --yes mlx-cpu mlx-cuda-12 mlx-cuda-13 || stop "cannot remove the other mlx; see $log"
    install_lock "py/requirements-$cuda.lock"
    rm -f .venv/cuda1?.installed
    .venv/bin/python -c 'import mlx.core as mx; mx.eval(mx.ones(8) + 1)' >>"$log" 2>&1 ||
        stop "mlx for $cuda does not run here ($(tail -1 "$log")); it needs an NVIDIA GPU and its driver." \
            "make setup without MLX= goes back to the CPU"
    cksum <"py/requirements-$cuda.lock" >".venv/$cuda.installed"
    cksum <py/requirements.lock >.venv/base.installed
fi
[ "$group" != base ] || bin/fast_blas.sh
echo "$checksum" >"$note"
