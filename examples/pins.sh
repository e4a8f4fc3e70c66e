#!/usr/bin/env bash
# Prints the tables of a measured configuration that pin a program: its digest, and that of each library that
# the loader opens for it, the loader among them.
#
#   examples/pins.sh PROGRAM [REQUIRED_ARGUMENTS]     the arguments in TOML: '[["-c", "/etc/x.conf"]]'
set -euo pipefail

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

printf '[program]\npath = "%s"\nsha256 = "%s"\nrequired_arguments = %s\n' "$1" "$(digest "$1")" "${2:-[]}"
ldd "$1" | grep -o '/[^ ]*' | sort -u | while read -r library; do
    printf '\n[[library]]\npath = "%s"\nsha256 = "%s"\n' "$library" "$(digest "$library")"
done
