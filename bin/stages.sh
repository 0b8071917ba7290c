#!/usr/bin/env bash
# What has to be made again? Contents decide, not dates.
#
#   bin/stages.sh stale              names of the stages whose settings or files have changed
#   bin/stages.sh begin STAGE OUT TITLE   a stage begins: say so, note what it is made of
#   bin/stages.sh finish STAGE OUT NEXT   it is whole: OUT.tmp becomes OUT, the note is kept;
#                                         say how large, how long, and the next goal
#   bin/stages.sh up-to-date OUT          say so if this make had nothing to do
#   bin/stages.sh why                     what made each stage stale
#
# Make sets STAGE_TABLE, a description of the stages (see stages.awk), BUILD_FOLDER, theirs, MAKE_PID, and
# QUIET and AS_ASKED for what is said. made/latest has the make and the time of the last begin. A
# file is read again only when its size or dates have changed: made/hashes keeps sha256 by size
# and dates, so that gigabytes of weights cost one stat.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=$BUILD_FOLDER/made/hashes

stat_files() { # SIZE MTIME CTIME FILE of the files that are there
    if stat -c %s / >/dev/null 2>&1; then # portable: GNU's here, BSD's below
        xargs stat -c '%s %.9Y %.9Z %n' 2>/dev/null || true # portable: as above
    else
        xargs stat -f '%z %Fm %Fc %N' 2>/dev/null || true # portable: as above
    fi
}

stop() {
    echo "$*" >&2
    exit 2
}

[ "$1" = finish ] || [ "$1" = up-to-date ] || files=$(awk '{ n = split($0, stage, ";"); for (i = 1; i <= n; i++) { split(stage[i], part, "|"); m = split(part[4], file, " ")
    for (j = 1; j <= m; j++) if (!seen[file[j]]++) print file[j] } }' <<<"$STAGE_TABLE" | stat_files)
hashes=$cache
[ -f "$cache" ] || hashes=/dev/null

ask() { # stages.awk; reads the files whose content it says it does not know, and asks again
    local answer size modified changed file new=
    answer=$(awk -v "ask=$1" -v "build=$BUILD_FOLDER" -f bin/stages.awk mode=table <(tr ';' '\n' <<<"$STAGE_TABLE") \
        mode=hashes "$hashes" mode=files <(printf '%s\n' "$files"))
    case $answer in unknown*) ;; *)
        [ -z "$answer" ] || printf '%s\n' "$answer"
        return
        ;;
    esac
    while read -r size modified changed file; do
        new="$new$(bin/sha256.sh "$file") $size $modified $changed $file
"
    done < <(tail -n +2 <<<"$answer")
    if [ -w "$BUILD_FOLDER/made" ]; then
        hashes=$cache
        printf '%s' "$new" >>"$cache"
    else # not built yet: known to this run only
        hashes=$(mktemp)
        printf '%s' "$new" >"$hashes"
    fi
    ask "$1"
    [ "$hashes" = "$cache" ] || rm -f "$hashes"
}

say() { [ -n "${QUIET:-}" ] || printf '%s\n' "$@"; }

title() { # bold on a terminal, unless someone has asked for no colour
    if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then say "" $'\033[1m'"$1"$'\033[0m'; else say "" "$1"; fi
}

elapsed() { # since the stage began
    local seconds
    seconds=$(($(date +%s) - $(cut -d ' ' -f 2 "$latest")))
    if [ "$seconds" -lt 120 ]; then echo "$seconds s"; else echo "$((seconds / 60)) min $((seconds % 60)) s"; fi
}

stage=${2:-} out=${3:-} latest=$BUILD_FOLDER/made/latest
stamp=$(dirname "$out")/made/$stage
case $1 in
stale | why)
    ask "$1"
    ;;
begin)
    said=$(bin/lock.sh "$BUILD_FOLDER" "$MAKE_PID")
    [ -z "$said" ] || stop "$said"
    mkdir -p "$BUILD_FOLDER/made" "$(dirname "$stamp")"
    title "== $stage: $4"
    echo "$MAKE_PID $(date +%s)" >"$latest"
    ask "$stage" >"$stamp.new"
    case $(head -1 "$stamp.new") in otherwise*)
        stop "$stage: another make has changed what it is made of ($(head -1 "$stamp.new" | cut -d ' ' -f 2)); run make again"
        ;;
    esac
    # These put their output in place themselves: from here on it may be of the old making or the new.
    case $stage in
    preflight | eval | eval_base) rm -f "$stamp" ;;
    # One note for all draws: those of other settings go with it, those of these stay when one more is drawn.
    sweep) cmp -s "$stamp" "$stamp.new" || rm -f "$stamp" "$(dirname "$out")"/seed-*.json ;;
    esac
    ;;
finish)
    if [ -e "$out.tmp" ]; then
        rm -f "$stamp" # a kill between these lines must not leave a new output under an old note
        rm -rf "$out"
        mv "$out.tmp" "$out"
    fi
    mv "$stamp.new" "$stamp"
    made="$out: $([ ! -s "$out" ] || echo "$(bin/size.sh "$out"), ")$(elapsed)"
    next="next: make ${4:-}${AS_ASKED:+ }${AS_ASKED:-}"
    if [ -z "${4:-}" ] || [ "${MAKELEVEL:-1}" -gt 1 ]; then
        say "$made" # of a make within another: what comes next is for that one to say
    elif [ $((${#made} + ${#next})) -lt 78 ]; then
        say "$made; $next"
    else
        say "$made" "$next"
    fi
    ;;
up-to-date)
    [ "$(cut -d ' ' -f 1 "$latest" 2>/dev/null)" = "$MAKE_PID" ] || say "Nothing to do: $2 is up to date."
    ;;
esac
