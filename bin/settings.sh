#!/usr/bin/env bash
# Checks the settings before Make includes them. Prints one line if something is wrong, else nothing.
#
#   bin/settings.sh CONFIG [KEY=value ...]     the rest is what Make's command line sets
#
# phase40.env names every key there is. CONFIG has only the lines that differ from it.
config=$1
shift
if [[ $config == *[!A-Za-z0-9_.,:/@+~-]* ]]; then
    echo "CONFIG=$config: a path is letters, digits and _.,:/@+~-"
    exit
fi
for file in phase40.env "$config"; do
    [ -f "$file" ] && [ -r "$file" ] || {
        echo "$file: no such config; CONFIG names an env file such as phase40.env"
        exit
    }
done
{
    sed 's/^/phase40.env /' phase40.env
    [ "$config" = phase40.env ] || sed "s|^|$config |" "$config"
    [ $# = 0 ] || printf 'command-line %s\n' "$@"
} | LC_ALL=C awk '
{
    file = $1
    line = substr($0, length(file) + 2)
    number[file]++
    where = file == "command-line" ? "command line" : file ":" number[file]
}
line ~ /^#/ || line == "" { next }
sub(/\r$/, "", line) { problem = "Windows line end; save the file with plain line ends" }
line !~ /^[A-Z][A-Z0-9_]*=/ && !problem { problem = "not KEY=value; no spaces around =" }
line !~ /=[A-Za-z0-9_.,:\/@%+~-]+$/ && !problem {
    problem = "a value is one or more of letters, digits and _.,:/@%+~-"
}
!problem {
    key = substr(line, 1, index(line, "=") - 1)
    if (file == "phase40.env") known[key] = 1
    else if (!(key in known) && file != "command-line") problem = "unknown key; phase40.env lists the keys there are"
    else if ((file, key) in seen) problem = "set twice"
    seen[file, key] = 1
}
problem { print where ": " line ": " problem; exit }'
