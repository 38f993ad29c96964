#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_docs.sh LIBRARY [FLAGS...] - proves that what the documents show is true; runs in the project's root.
# check_docs.sh --edits            - builds and tests the library with the edits of docs/adding-an-op.md, in a copy.
#
# Every ```c block is a whole program: it is compiled, linked with LIBRARY and FLAGS (such as -fopenmp), and must
# return 0. An ```output block behind it is what it prints, but for the digits of numbers below 1e-8, which are rounding
# and differ from compiler to compiler. <!-- from: FILE --> before a block says that FILE holds
# that text; such a block is a program only if it has a main. The ```diff blocks are one patch, which must apply.
# Links to files of the project must lead somewhere, and a test named `suite: test` must exist, as must a function named
# `file.c: function`. docs/architecture.svg must have a room for each folder. A document in another
# language, docs/ru/NAME, has the programs and outputs of docs/NAME, which are run once. Set CC and CFLAGS as for make.
# Exit status 1 on any fault.
set -eu

documents=$(ls README.md CONTRIBUTING.md docs/*.md docs/course/*.md tests/README.md examples/data/README.md \
    2>/dev/null || true)
translations=$(ls docs/ru/*.md 2>/dev/null || true)
strict='-std=c99 -pedantic -Wall -Wextra -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes
        -Wmissing-prototypes -Wundef -Werror'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

fault()
{
    echo "check_docs.sh: $*" >&2
    failed=1
}

# Blocks of a document as <name>.<line>.c, .output and .diff; what <!-- from --> names as .from beside the block's.
extract()
{
    awk -v base="$folder/$(echo "$1" | tr '/' '-')" '
        /^```/ && inside { close(file); inside = 0; next }
        inside { print > file; next }
        /^<!-- from: .* -->$/ { from = $3; next }
        /^```(c|output|diff)$/ {
            kind = substr($0, 4)
            if (kind != "output") at = base "." NR
            file = at != "" ? at "." kind : "/dev/null"
            inside = 1
            printf "" > file
            if (from != "") print from > (at ".from")
            from = ""
            next
        }
        /^```/ { inside = 1; file = "/dev/null"; next }
        /[^ ]/ { from = "" }' "$1"
}

# Whether file $2 has the text of $1 in one piece.
contains()
{
    awk 'NR == FNR { part = part $0 "\n"; next }
         { whole = whole $0 "\n" }
         END { exit index(whole, part) == 0 }' "$1" "$2"
}

# Numbers below 1e-8 without their digits, in a copy of the file.
without_rounding()
{
    sed 's/[0-9.]*e-\(09\|[1-9][0-9]\)/(rounding)/g' "$1" >"$1.rounded"
}

check_program()
{
    name=$(basename "$1" .c)
    # Unquoted: words.
    # shellcheck disable=SC2086
    if ! ${CC:-cc} $strict ${CFLAGS:-} -I. "$1" $link -lm -o "$folder/program"; then
        fault "$name: does not compile"
    elif ! "$folder/program" >"$folder/printed"; then
        fault "$name: the program failed"
    elif [ -f "${1%.c}.output" ] && without_rounding "${1%.c}.output" && without_rounding "$folder/printed" &&
        ! diff -u "${1%.c}.output.rounded" "$folder/printed.rounded" >&2; then
        fault "$name: the program prints something else"
    else
        count=$((count + 1))
    fi
}

check_from()
{
    file=$(cat "$1")
    block=${1%.from}.c
    if [ ! -f "$file" ]; then
        fault "$(basename "$1" .from): there is no $file"
    elif ! contains "$block" "$file"; then
        fault "$(basename "$1" .from): $file has another text"
    fi
}

check_links()
{
    for link in $(grep -o '](\([^)#]*\)' "$1" | sed 's/^](//' | grep -v '^[a-z]*:' || true); do
        [ -e "$(dirname "$1")/$link" ] || fault "$1: the link to $link leads nowhere"
    done
}

# `suite: test`, as in `sdpa: blind_rows_give_zeros`: the suite is run, and its file has that test.
check_tests()
{
    for name in $(grep -o '`[a-z0-9_][a-z0-9_]*: [a-z0-9_][a-z0-9_]*`' "$1" | tr -d '` ' | sort -u); do
        suite=${name%:*}
        grep -q "^SUITE($suite)" tests/suites.def &&
            find tests -name "check_$suite.c" -exec cat {} + | grep -q "^START_TEST(${name#*:})" ||
            fault "$1: there is no test ${name#*:} in the suite $suite"
    done
}

# `folder/file.c: function`, as in `autograd/tape.c: ag_record`: the file has it; in a template as FN(function).
check_functions()
{
    grep -Eo '`(tensor|autograd|nn)/[a-z_/]*\.[a-z]*(: [a-z0-9_]*)?`' "$1" | tr -d '` ' | sort -u >"$folder/named"
    while IFS=: read -r file function; do
        if [ ! -e "$file" ]; then
            fault "$1: there is no $file"
        elif [ -n "$function" ] && ! grep -q "^[A-Za-z].*[ *(]$function)\{0,1\}(" "$file"; then
            fault "$1: $file has no function $function"
        fi
    done <"$folder/named"
}

# The rooms of the picture are the folders of the library with sources in them, and examples.
check_rooms()
{
    find tensor autograd nn -name '*.c' | sed 's,/[^/]*$,,' | sort -u >"$folder/rooms"
    echo examples >>"$folder/rooms"
    sed -n 's/^<g id="\(.*\)">$/\1/p' docs/architecture.svg | sort >"$folder/drawn"
    sort "$folder/rooms" | diff "$folder/drawn" - >&2 ||
        fault 'docs/architecture.svg has other rooms than the tree; run python3 tools/architecture.py'
}

# `make` makes the programs too. Not the flags of the make that runs this.
check_make()
{
    MAKEFLAGS='' make -n -B 2>/dev/null | grep -q -- '-o [^ ]*examples/lm$' ||
        fault 'make alone does not make the programs'
}

# All blocks, fences included.
blocks()
{
    awk '/^```/ { inside = !inside; print; next } inside' "$1"
}

check_translation()
{
    original=docs/$(basename "$1")
    blocks "$1" >"$folder/translated"
    if [ ! -f "$original" ]; then
        fault "$1: there is no $original"
    elif ! blocks "$original" | diff -u - "$folder/translated" >&2; then
        fault "$1: its programs are not those of $original"
    fi
}

for document in $documents; do
    extract "$document"
    check_links "$document"
    check_tests "$document"
    check_functions "$document"
done
check_rooms
check_make
for document in $translations; do
    check_links "$document"
    check_tests "$document"
    check_translation "$document"
done
cat "$folder"/*.diff >"$folder/edits" 2>/dev/null || true

if [ "${1:-}" = --edits ]; then
    mkdir "$folder/tree"
    cp -R Makefile attngrad.h tools tensor autograd nn tests examples "$folder/tree"
    cd "$folder/tree"
    git apply "$folder/edits"
    make config=scalar build="$folder/build" "$folder/build/tests/check" "$folder/build/examples/gradcheck" >/dev/null
    "$folder/build/examples/gradcheck" --all >/dev/null
    AG_ISA=reference "$folder/build/tests/check" kernels ops
    "$folder/build/tests/check" kernels accuracy ops op_errors random_graphs
    exit
fi

[ $# -gt 0 ] || { echo 'usage: check_docs.sh LIBRARY [FLAGS...] | --edits' >&2; exit 2; }
link=$*
count=0
for from in "$folder"/*.from; do
    [ ! -f "$from" ] || check_from "$from"
done
for program in "$folder"/*.c; do
    if [ ! -f "${program%.c}.from" ] || grep -q '^int main(' "$program"; then
        check_program "$program"
    fi
done
if [ -s "$folder/edits" ] && command -v git >/dev/null 2>&1 && ! git apply --check "$folder/edits"; then
    fault 'the edits of docs/adding-an-op.md do not apply'
fi
[ $failed -ne 0 ] || echo "docs: $count programs compile, run and print what the documents say"
exit $failed
