#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_release.sh FOLDER - the two files of `make release` in FOLDER compile with each compiler that is here, by the
# plain command that the documents name, and a program that trains with them runs; gcc's and clang's find the kernels
# of this machine.
set -eu

files=$(cd "$1" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' >"$folder/program.c"
sed -n '/^```output$/,/^```$/p' README.md | sed '/^```/d' >"$folder/expected"
cp "$files/attngrad.c" "$files/attngrad.h" "$folder"
cd "$folder"

for cc in gcc clang tcc; do
    if ! command -v $cc >/dev/null 2>&1; then
        echo "check_release: skipped, no $cc"
        continue
    fi
    $cc -std=c99 -I. attngrad.c program.c -lm -o program
    ./program >printed
    cmp expected printed || { diff expected printed; exit 1; }
    echo "check_release: $cc compiles attngrad.c, and README's program prints what it should"
done
