#!/usr/bin/env bash
# Prints the sha256 of a file, by whichever of the two programs this system has.
if command -v sha256sum >/dev/null; then
    sha256sum <"$1" | cut -c 1-64 # portable: GNU's, or the one of macOS below
else
    shasum -a 256 <"$1" | cut -c 1-64 # portable: as above
fi
