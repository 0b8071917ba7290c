#!/usr/bin/env bash
# Fetches files by checksum, and checks those that are there. What is there is never overwritten.
#
#   bin/fetch.sh URL CHECKSUMS FILE...
#
# CHECKSUMS has a line "SHA256  PATH" for each file, as shasum -a 256 writes it; PATH is where the file
# lies under URL, which is a repository, a mirror, or a folder (file://, the same tree or all files in
# one place). A download that breaks off is kept as FILE.part, and the next one goes on from there. A
# FILE that CHECKSUMS does not list must be there already, and so must one in a folder that it does not
# name: a misspelt folder would be filled with rows that are not meant. Exit status 2: one line for each
# file amiss.
set -u
cd "$(dirname "$0")/.." || exit 2
url=${1%/} checksums=$2
shift 2

problem() {
    echo "$*" >&2
    amiss=2
}

download() { # PATH PART: curl's exit status; what it said is in $said
    said=$(curl --fail --location --silent --show-error --proto '=https,http,file' --netrc-optional \
        --connect-timeout 20 --speed-limit 1 --speed-time 60 --retry 3 \
        --continue-at - --output "$2" "$url/$1" 2>&1)
    local status=$?
    said=${said##*$'\n'} # its last word
    return "$status"
}

# PATH PART: the file under URL, or in a folder of files its name alone; goes on where a connection
# broke, from the start where the server cannot.
obtain() {
    local path part=$2 attempt status
    for path in "$1" "${1##*/}"; do
        for attempt in 1 2 3 4; do
            download "$path" "$part"
            status=$?
            tried=$url/$path
            case $status in
            0) return 0 ;;
            18 | 28 | 52 | 55 | 56 | 92) sleep "$attempt" ;; # cut off: there is more to come
            22 | 33 | 36) # no such range, or no such file
                [ -s "$part" ] || break
                rm -f "$part"
                ;;
            *) break ;;
            esac
        done
        case $status in 22 | 37) ;; *) return 1 ;; esac # only a missing file is sought elsewhere
    done
    return 1
}

# FILE: moves what an earlier fetch left of it to $part, and says yes if there was anything. One that is
# still running keeps its own.
take_over() {
    local left owner
    for left in "$1".part "$1".part.[0-9]*; do
        owner=${left##*.}
        if [ -f "$left" ] && ! { [ "$owner" != part ] && kill -0 "$owner" 2>/dev/null; }; then
            mv "$left" "$part" 2>/dev/null && echo yes && return
        fi
    done
}

# What has come so far is kept for the next time.
leave() {
    [ -z "$part" ] || [ ! -s "$part" ] || mv "$part" "${part%.*}"
}

fetch() { # FILE
    local file=$1 pinned path found bytes folder tries=1 hint=
    part=$1.part.$$
    pinned=$(awk -v name="${file##*/}" '{ n = split($2, part, "/") } part[n] == name { print $1, $2; exit }' "$checksums" 2>/dev/null)
    path=${pinned#* } pinned=${pinned%% *}
    if [ -e "$file" ] || [ -L "$file" ]; then
        [ -f "$file" ] || { problem "$file: no regular file; move it away and run make data"; return; }
        [ -n "$pinned" ] || { echo "$file: there; no checksum is known for it"; return; }
        found=$(bin/sha256.sh "$file")
        if [ "$found" = "$pinned" ]; then
            echo "$file: there, sha256 as in $checksums"
        else
            problem "$file: another file than $checksums has (sha256 ${found:0:12}..., not ${pinned:0:12}...); it is left as it is: move it away and run make data, or set CHECKSUMS=none if it is your own"
        fi
        return
    fi
    if [ "$url" = none ] || [ -z "$pinned" ]; then
        problem "$file: no such file; a key of the config or of the command line names it, and $([ "$url" = none ] && echo DATA_URL=none names no place to fetch it from || echo "CHECKSUMS=$checksums lists no such name to fetch")"
        return
    fi
    folder=$(basename "$(dirname "$file")")
    case " ${folders:-$folder} " in *" $folder "*) ;; *)
        problem "$file: no such file; $checksums has one of that name for another folder ($folders): is DATA misspelt?"
        return
        ;;
    esac
    if ! mkdir -p "$(dirname "$file")" 2>/dev/null || [ ! -w "$(dirname "$file")" ]; then
        problem "$file: cannot be written; make its folder writable"
        return
    fi
    case $file in *.py) hint="; SUITE=data/suite.json does without it" ;; esac
    [ -z "$(take_over "$file")" ] || tries=2 # what is wrong when it was resumed may be right from the start
    while [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        if ! obtain "$path" "$part"; then
            leave
            case $said in
            "curl: (23)"*) problem "$file: cannot be written ($said); free some disk and run make data, which goes on from there" ;;
            *) problem "$file: not to be had from $url, neither as $path nor as ${path##*/} ($said); DATA_URL takes a mirror or a file:// folder that has it$hint" ;;
            esac
            return
        fi
        found=$(bin/sha256.sh "$part")
        if [ "$found" = "$pinned" ]; then
            mv "$part" "$file"
            echo "$file: fetched, sha256 as in $checksums"
            return
        fi
        bytes=$(wc -c <"$part" | tr -d ' ')
        rm -f "$part"
    done
    problem "$file: what $tried gives ($bytes bytes, sha256 ${found:0:12}...) is not the file that $checksums has (${pinned:0:12}...); nothing was kept: try another DATA_URL"
}

part=
trap leave EXIT
trap 'exit 130' HUP INT TERM
amiss=0
# The last part of each folder that CHECKSUMS names; a file listed without one may lie anywhere.
folders=$(awk '{ n = split($2, part, "/"); if (n > 1) print part[n - 1] }' "$checksums" 2>/dev/null | sort -u | tr '\n' ' ')
case $url in
*://*@*)
    problem "DATA_URL: a password in it would end up in logs; put it into ~/.netrc, which curl reads"
    exit 2
    ;;
none | http://* | https://* | file://*) ;;
*)
    problem "DATA_URL=$url: expected https://, http:// or file:// and a folder, or none"
    exit 2
    ;;
esac
if [ "$checksums" != none ] && [ ! -r "$checksums" ]; then
    problem "$checksums: no such file; CHECKSUMS names the list of sha256, or none"
    exit 2
fi
for file in "$@"; do
    fetch "$file"
done
exit "$amiss"
