#!/usr/bin/env bash
# Reads an env file for the Makefile: prints its keys, or one line beginning with "error:".
#
#   bin/config.sh CONFIG SCHEMA
#
# SCHEMA is the env file that names every key (phase40.env). Values from the environment are
# held to the same syntax, since they win over the file's.
config=$1 schema=$2
for file in "$config" "$schema"; do
    [ -r "$file" ] || {
        echo "error: $file: no such config; CONFIG names an env file such as phase40.env"
        exit 0
    }
done
LC_ALL=C awk -v config="$config" -v schema="$schema" '
function fail(text) { print "error: " text; failed = 1; exit }
function check(value, where) {
    if (value !~ /^[A-Za-z0-9_.,:\/@%+~-]*$/)
        fail(where ": a value holds letters, digits and _.,:/@%+~- only, no quotes or spaces: " value)
}
/^#/ || /^$/ { next }
/\r$/ { fail(FILENAME ":" FNR ": Windows line end; save the file with plain line ends") }
!/^[A-Z][A-Z0-9_]*=/ { fail(FILENAME ":" FNR ": not KEY=value: " $0) }
{
    key = substr($0, 1, index($0, "=") - 1)
    value = substr($0, index($0, "=") + 1)
    check(value, FILENAME ":" FNR)
    if (pass == "schema") { known[key] = 1; order[++n] = key; next }
    if (key in seen) fail(FILENAME ":" FNR ": " key " is set twice")
    if (!(key in known)) fail(FILENAME ":" FNR ": unknown key " key "; " schema " lists the keys there are")
    seen[key] = 1
    if (key in ENVIRON) check(ENVIRON[key], "environment: " key)
}
END {
    if (failed) exit
    for (i = 1; i <= n; i++)
        if (!(order[i] in seen)) fail(config ": " order[i] " is missing; copy its line from " schema)
    for (i = 1; i <= n; i++) printf "%s ", order[i]
}' pass=schema "$schema" pass=config "$config"
