#!/usr/bin/env bash
# One make at a time in a build folder.
#
#   bin/lock.sh BUILD PID   takes the lock for the make with that PID; silent when that is done,
#                           else prints one line that says why not
#   bin/lock.sh BUILD       only looks: that line while a make is at work there
#
# The lock is a symbolic link whose text names the holder, PID@HOST: making one is atomic everywhere, and
# macOS has no flock. It is never given back: a make that has ended counts no more.
set -u
# portable: a Mac's uname -n changes with the network that it is in; the name scutil gives stays.
build=$1 me=${2:-}@$(scutil --get LocalHostName 2>/dev/null || uname -n)
lock=$build/.lock

{ mkdir -p "$build" && [ -w "$build" ]; } 2>/dev/null || {
    echo "$build: cannot be written; name another folder with BUILD="
    exit
}

is_make() { # is the process a make? Without ps, in a bare container, any process of ours will do
    if ! command -v ps >/dev/null; then
        kill -0 "$1" 2>/dev/null
        return
    fi
    # -ww: BSD's cuts the path of the program at the width of the terminal, and make stands at its end.
    case $(ps -ww -o comm= -p "$1" 2>/dev/null) in *make) ;; *) return 1 ;; esac
}

held() { # says who holds the lock, if that make is alive or, on another machine, may be
    local holder
    holder=$(readlink "$lock") || return 1
    if [ "${holder#*@}" = "${me#*@}" ]; then
        is_make "${holder%%@*}" || return 1
    fi
    echo "$build: make is at work here (process ${holder%%@*} on ${holder#*@}); wait for it, or name another folder" \
        "with BUILD= (if it is at work no more, remove $lock)"
}

[ -n "${2:-}" ] || {
    held
    exit 0
}
[ "$(readlink "$lock")" != "$me" ] || exit 0
if ln -s "$me" "$lock" 2>/dev/null || held; then exit; fi
# The holder is gone. Whoever makes this folder takes over, and looks again: another may have.
mkdir "$lock.takeover" 2>/dev/null || {
    echo "$build: another make is just starting here (if not, remove $lock.takeover)"
    exit
}
held || { rm -f "$lock" && ln -s "$me" "$lock"; }
rmdir "$lock.takeover"
