#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_exercises.sh - every stub of the exercises fails with the hint that begins it; `make exercise` keeps a student's
# file, judges it, and names what does not compile. That solutions pass is in tests/exercises.
#
# usage: CC=... sh tests/examples/check_exercises.sh FOLDER    FOLDER holds the built programs. Runs in the project's
# root.
set -eu
subject=exercises
. tests/examples/checks.sh
programs=$1
build=$(dirname "$programs")
stubs=examples/exercises/stubs

try() { # N, then words for make: the exercise in a folder of its own
    number=$1
    shift
    make --no-print-directory CC="${CC:-cc}" build="$build" exercise "N=$number" folder="$folder/mine" "$@" \
        >"$folder/message" 2>&1
}
stub_fails() { # number, name; some build on earlier ones, which are stubs here too
    ! "$programs/exercises" "$1" >"$folder/message" && says "Exercise $1, $2" &&
        grep -qE '^(Hint: |First: make exercise N=[0-9])' "$folder/message" &&
        ! tr -s ' \n' ' ' <"$folder/message" | grep -q 'where it must not be'
}
kept() {
    echo '/* mine */' >>"$folder/mine/01_softmax_backward.c"
    try 1 && says 'not yet' && grep -q mine "$folder/mine/01_softmax_backward.c"
}
right() { # a right softmax_backward, which exercise 1's judge says is right
    cat >"$folder/mine/01_softmax_backward.c" <<'C'
#include "examples/exercises/exercises.h"
void softmax_backward(double *dx, const double *dy, const double *y, int rows, int cols)
{
    for (int i = 0; i < rows * cols; i++)
        for (int j = i - i % cols; j < i - i % cols + cols; j++)
            dx[i] += dy[j] * y[j] * ((i == j) - y[i]);
}
C
    try 1 && says 'Exercise 1, softmax_backward: right' && says 'Next: make exercise N=2'
}
wrong_sign() { # explain=1 has the report
    sed -i.old 's/+= dy/-= dy/' "$folder/mine/01_softmax_backward.c"
    try 1 explain=1 && says 'a sign is not' && says 'sign flipped'
}
not_compiled() {
    echo 'int x = ;' >>"$folder/mine/01_softmax_backward.c"
    ! try 1 && says 'does not compile' && try 2 && says 'Exercise 2, layer_norm_backward: not yet'
}
crash() {
    sed -i.old 's|/\* here \*/|dx[r + 1000000000] = 1;|' "$folder/mine/02_layer_norm_backward.c"
    try 2 && says 'crashed'
}

"$programs/exercises" >"$folder/list"
while read -r at title; do
    check "stub $at" stub_fails "$at" "$title"
    check "the stub's file name" [ -f "$stubs/$(printf %02d "$at")_$title.c" ]
done <"$folder/list"
check 'as many stubs as exercises' [ "$(wc -l <"$folder/list")" -eq "$(ls $stubs | wc -l)" ]
check 'a stub is copied' try 1
check 'a file is kept' kept
check 'a right answer' right
check 'a wrong sign' wrong_sign
check 'a file that does not compile' not_compiled
check 'a crash' crash
check 'no such exercise' sh -c "! make --no-print-directory build='$build' exercise N=99 >/dev/null 2>&1"
exit $failed
