#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_release.sh FOLDER LIBRARY - the two files of `make release` in FOLDER compile with each compiler that is here,
# without options, and a program that trains with them runs. They define every public function
# that LIBRARY, an archive of the tree, defines.
set -eu

files=$(cd "$1" && pwd)
library=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
sed -n '/^```c$/,/^```$/p' README.md | sed '/^```/d' >"$folder/program.c"
sed -n '/^```output$/,/^```$/p' README.md | sed '/^```/d' >"$folder/expected"
cp "$files/attngrad.c" "$files/attngrad.h" "$folder"
cd "$folder"
defined() { nm -g --defined-only "$1" 2>/dev/null | awk 'NF == 3 { print $3 }' | LC_ALL=C sort -u; }
grep -oh 'ag_[a-z0-9_]*' attngrad.h | LC_ALL=C sort -u >named
defined "$library" | LC_ALL=C comm -12 - named >public
grep -qx ag_mha_forward public

for cc in gcc clang tcc; do
    if ! command -v $cc >/dev/null 2>&1; then
        echo "check_release: skipped, no $cc"
        continue
    fi
    $cc -std=c99 -I. -c attngrad.c
    defined attngrad.o | LC_ALL=C comm -13 - public >missing
    ! grep . missing || { echo "check_release: $cc's attngrad.o does not define these"; exit 1; }
    $cc -std=c99 -I. attngrad.o program.c -lm -o program
    ./program >printed
    cmp expected printed || { diff expected printed; exit 1; }
    echo "check_release: $cc compiles attngrad.c, and README's program prints what it should"
done
