#!/usr/bin/env bash
# Lists what make can be asked for, under the heads of the sections that it stands in.
#
#   bin/help.sh MAKEFILE...
#
# A head is a line "# == Name: what it is for", a target a line "name: ... ## what it does".
bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
awk -v "bold=$bold" -v "plain=$plain" '
/^# == / { head = substr($0, 6) }
/^[a-z-]+:.*## / {
    if (head != "") print "\n" bold head plain
    head = ""
    target = what = $0
    sub(/:.*/, "", target)
    sub(/.*## /, "", what)
    printf "  make %-15s %s\n", target, what
}' "$@"
