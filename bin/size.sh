#!/usr/bin/env bash
# Prints what files or folders take on the disk, together, as a person says it: 5.6 GB.
du -sk "$@" | awk '
{ bytes += $1 * 1024 }
END {
    if (bytes < 1e6) printf "%.0f kB\n", bytes / 1e3
    else if (bytes < 1e9) printf "%.1f MB\n", bytes / 1e6
    else printf "%.1f GB\n", bytes / 1e9
}'
