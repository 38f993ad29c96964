#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_course.sh FOLDER - every page of docs/course shows what its program prints: the ```output blocks of the page
# NN-some-name.md, one behind the other, are the output of examples/course/some_name.c, but for blank lines and for the
# digits of numbers below 1e-8, which are rounding. A program draws its picture where its argument says. FOLDER holds
# the built programs. Run from the project's root.
set -eu

programs=$1
subject=course
. tests/examples/checks.sh

comparable() { sed '/^ *$/d; s/[0-9.]*e-\(09\|[1-9][0-9]\)/(rounding)/g'; }
shows() { # page, program: what the page shows is what the program prints
    "$programs/course/$2" >"$folder/printed" &&
        awk '/^```output$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$1" | comparable >"$folder/shown" &&
        comparable <"$folder/printed" | diff -u "$folder/shown" -
}
draws() { # program
    "$programs/course/$1" "$folder/$1.svg" >"$folder/printed" && grep -q '^</svg>$' "$folder/$1.svg"
}
complete() { # the pages have the programs, and the list has the pages
    for page in docs/course/[0-9]*.md; do
        basename "$page" .md | sed 's/^[0-9]*-//; y/-/_/'
    done | sort >"$folder/pages"
    for program in examples/course/*.c; do
        basename "$program" .c
    done | sort | diff "$folder/pages" - &&
        grep -o '([0-9][^)]*\.md)' docs/course/README.md | tr -d '()' >"$folder/listed" &&
        ls docs/course | grep '^[0-9]' | diff "$folder/listed" -
}

check "each page has a program, and each program a page that the list has" complete
while read -r chapter; do
    check "$chapter: the page shows what the program prints" \
        shows "$(echo docs/course/[0-9]*-"$(echo "$chapter" | tr _ -)".md)" "$chapter"
    check "$chapter: its picture" draws "$chapter"
done <"$folder/pages"
exit $failed
