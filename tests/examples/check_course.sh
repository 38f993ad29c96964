#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_course.sh FOLDER - every page of docs/course shows what its program prints: the ```output blocks of the page
# NN-some-name.md, one behind the other, are the output of examples/course/some_name.c, but for blank lines and for the
# digits of numbers below 1e-8, which are rounding. A program draws its picture where its argument says. The rows in
# lesson.md are the explorer's. The pages in ru/ have the blocks of the English ones, and links that lead somewhere.
# FOLDER holds the built programs. Run from the project's root.
set -eu

programs=$1
subject=course
. tests/examples/checks.sh

comparable() { sed '/^ *$/d; s/[0-9.]*e-\(09\|[1-9][0-9]\)/(rounding)/g'; }
shows() { # page, program: what the page shows is what the program prints, which draws its picture too
    "$programs/course/$2" "$folder/$2.svg" >"$folder/printed" &&
        awk '/^```output$/ { inside = 1; next } /^```/ { inside = 0 } inside' "$1" | comparable >"$folder/shown" &&
        comparable <"$folder/printed" | diff -u "$folder/shown" -
}
draws() { # program, after shows
    grep -q '^</svg>$' "$folder/$1.svg"
}
says_why() { # a picture that can not be written
    ! "$programs/course/the_tape" "$folder/none/x.svg" >/dev/null 2>"$folder/message" &&
        [ "$(cat "$folder/message")" = "can not write $folder/none/x.svg: No such file or directory" ]
}
rows() { # of every matrix of the explorer's JSON on stdin: "dS[1]  -0.3327 ..."; exact zeros as 0
    LC_ALL=C awk '/"shape"/ {
        name = $1; list = cols = $0
        gsub(/[":]/, "", name)
        sub(/.*"shape": \[[0-9]*,[0-9]*,/, "", cols); sub(/\].*/, "", cols)
        sub(/.*"values": \[/, "", list); sub(/\].*/, "", list)
        count = split(list, value, ",")
        for (i = 0; i < count; i += cols) {
            line = sprintf("%-9s", name "[" i / cols "]")
            for (c = 1; c <= cols; c++)
                line = line (value[i + c] == 0 ? "        0" : sprintf(" %8.4f", value[i + c]))
            print line
        }
    }'
}
lesson() {
    "$programs/explorer" --text 'the cat sat' --size 2 --seed 9 | rows >"$folder/rows"
    awk '/^```text$/ { inside = 1; next } /^```/ { inside = 0 } inside' docs/course/lesson.md >"$folder/shown"
    [ -s "$folder/shown" ] && ! grep -vxF -f "$folder/rows" "$folder/shown"
}
blocks() { # page: all blocks, fences included
    awk '/^```/ { inside = !inside; print; next } inside' "$1"
}
translated() { # page
    blocks "docs/course/$(basename "$1")" >"$folder/blocks" && blocks "$1" | diff -u "$folder/blocks" - &&
        for link in $(grep -o '](\([^)#]*\)' "$1" | sed 's/^](//'); do
            [ -e "$(dirname "$1")/$link" ] || { echo "$1: the link to $link leads nowhere"; return 1; }
        done
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
for page in docs/course/ru/*.md; do
    check "$page: blocks and links" translated "$page"
done
check "the lesson's rows are the explorer's" lesson
check "a picture that can not be written" says_why
exit $failed
