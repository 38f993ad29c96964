#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_release.sh FOLDER LIBRARY [all] - the two files of `make release` in FOLDER compile with each compiler that is
# here, and a program that trains with them runs. They define every public function that LIBRARY, an archive of the
# tree, defines. With `all` also for every version of C from C99 to C23, with link-time optimisation, by other versions
# of the compilers, and without a warning.
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

warnings=''
try() # compiler, its options
{
    if ! command -v "$1" >/dev/null 2>&1; then
        echo "check_release: skipped, no $1"
        return
    fi
    rm -f attngrad.o program
    # Unquoted: words.
    # shellcheck disable=SC2086
    "$@" $warnings -I. -c attngrad.c
    "$@" -I. attngrad.o program.c -lm -o program
    ./program >printed
    cmp expected printed || { diff expected printed; exit 1; }
    echo "check_release: $*: attngrad.c compiles, and README's program prints what it should"
}

for cc in gcc clang tcc; do
    try $cc -std=c99
    [ ! -f attngrad.o ] || defined attngrad.o | LC_ALL=C comm -13 - public >missing
    ! grep . missing || { echo "check_release: $cc's attngrad.o does not define these"; exit 1; }
done
[ "${3:-}" = all ] || exit 0
warnings='-fopenmp-simd -Wall -Wextra -pedantic -Werror -Wno-missing-field-initializers'
for cc in gcc clang gcc-14 clang-19; do
    for std in c99 c11 c17 c2x; do # c2x: C23, as older compilers call it
        try $cc -std=$std
    done
done
try gcc -std=c99 -O2 -flto=auto
