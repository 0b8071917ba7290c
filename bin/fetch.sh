#!/usr/bin/env bash
# Fetches missing files and checks the sha256 of each. A file that is there is never changed.
#
#   bin/fetch.sh URL CHECKSUMS FILE...
#
# CHECKSUMS has a line "SHA256  PATH" for each file, as shasum -a 256 writes it. URL has the files under
# these paths, or all in one folder. Exit status 2: each file that is missing or wrong has its line.
set -u
cd "$(dirname "$0")/.." || exit 2
url=${1%/} checksums=$2 status=0
shift 2
command -v sha256sum >/dev/null || sha256sum() { shasum -a 256; } # portable: macOS has shasum

problem() {
    echo "$*" >&2
    status=2
}

has_sha256() { # FILE SHA256
    [ "$({ sha256sum <"$1"; } 2>/dev/null | cut -c 1-64)" = "$2" ] # portable: see above
}

# Each round tries both places, and goes on where the last round broke off. curl's own --retry would
# throw away what a broken connection has brought.
download() { # PATH PART
    local address said
    for _ in 1 2 3; do
        errors=
        for address in "$url/$1" "$url/${1##*/}"; do
            said=$(curl --fail --silent --show-error --location --netrc-optional --retry 1 \
                --connect-timeout 10 --speed-limit 1 --speed-time 60 \
                --continue-at - --output "$2" "$address" 2>&1)
            case $? in
            0) return 0 ;;
            33 | 36) rm -f "$2" ;; # this part cannot be continued: the next round starts over
            esac
            said=${said##*$'\n'} # its last line
            errors="$errors $address: $said;"
        done
    done
    return 1
}

# The list has this name and, if it has folders at all, this folder. DATA=misspelt must not make a new
# folder and fill it with rows that were not meant.
is_listed() { # FILE SHA256
    [ -n "$2" ] || return 1
    grep -q "[ /]$(basename "$(dirname "$1")")/" "$checksums" || ! grep -q / "$checksums"
}

if [[ $url == *@* ]]; then
    problem "DATA_URL: a password in it would end up in logs; put it into ~/.netrc, which curl reads"
    exit 2
fi
if [ "$checksums" != none ] && [ ! -r "$checksums" ]; then
    problem "$checksums: cannot be read; CHECKSUMS names the list of sha256, or none"
    exit 2
fi

for file in "$@"; do
    line=$(awk -F '[ /]+' -v name="${file##*/}" '$NF == name { print; exit }' "$checksums" 2>/dev/null)
    sha256=${line%% *} path=${line##* }
    part=$file.part copy=$file.part.$$

    if [ -f "$file" ] && [ -z "$sha256" ]; then
        echo "$file: there; no checksum is known for it"
    elif [ -f "$file" ] && has_sha256 "$file" "$sha256"; then
        echo "$file: there, sha256 as in $checksums"
    elif [ -e "$file" ] || [ -L "$file" ]; then
        problem "$file: not the file that $checksums lists; it is left as it is: move it away and run make data, or set CHECKSUMS=none if it is your own"
    elif [ "$url" = none ] || ! is_listed "$file" "$sha256"; then
        problem "$file: no such file, and it cannot be fetched (DATA_URL=$url, CHECKSUMS=$checksums); is DATA, or another key that names it, misspelt?"
    elif ! mkdir -p "$(dirname "$file")"; then
        status=2
    elif ! download "$path" "$part"; then
        problem "$file: cannot be fetched:$errors run make data again, or set DATA_URL to a mirror or a file:// folder that has it"
    elif ! cp "$part" "$copy" 2>/dev/null; then # A copy: another make may still write to $part.
        problem "$file: cannot be written; is the disk full, or does another make fetch it too? Run make data again"
    elif ! has_sha256 "$copy" "$sha256"; then
        problem "$file: what came from $url is not the file that $checksums lists; nothing was kept: run make data again, or set another DATA_URL"
        rm -f "$part"
    elif mv -n "$copy" "$file"; then
        echo "$file: fetched, sha256 as in $checksums"
        rm -f "$part"
    else
        status=2
    fi
    rm -f "$copy"
done
exit "$status"
