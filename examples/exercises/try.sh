#!/bin/sh
# SPDX-License-Identifier: MIT
#
# try.sh N FOLDER BUILD OBJECT... - `make exercise N=` calls this. Copies the stub of exercise N into FOLDER when it is
# not there, compiles it by $compile, links it by $link with the judge's objects and runs that. The functions of other
# exercises are those of FOLDER's files that compile, else the stubs. explain=1: with the checker's report.
# Exit status 0 also for a wrong answer, since make would print an error below the hint; 1 when it does not compile.
set -eu
number=$1 folder=$2 build=$3
shift 3
stubs=examples/exercises/stubs
name=$(cd $stubs && ls | grep "^0*${number:-none}_") || {
    "$build/examples/exercises"
    echo 'make exercise N=1 begins the first; docs/course/exercises.md says how.'
    [ -z "$number" ] && exit 0 || exit 1
}
if [ ! -e "$folder/$name" ]; then
    mkdir -p "$folder"
    cp $stubs/"$name" "$folder/$name"
fi
echo "Your file: $folder/$name"

objects=$build/exercises
rm -rf "$objects"
mkdir -p "$objects/others"
# Unquoted: words.
# shellcheck disable=SC2086
$compile "$folder/$name" -o "$objects/answer.o" || {
    echo "Exercise $number does not compile. Mend the first error first: the others often follow from it." >&2
    exit 1
}
# shellcheck disable=SC2086
for other in "$folder"/[0-9][0-9]_*.c; do
    [ "$other" = "$folder/$name" ] || [ ! -e $stubs/"${other##*/}" ] ||
        $compile "$other" -o "$objects/others/$(basename "$other" .c).o" 2>/dev/null || true
done
# A stub's object is used for functions that nothing else defines.
for stub in "$build"/objects/$stubs/*.o; do
    [ "${stub##*/}" = "${name%.c}.o" ] || [ -e "$objects/others/${stub##*/}" ] || cp "$stub" "$objects/others"
done
# shellcheck disable=SC2086
$link "$objects/answer.o" "$objects"/others/*.o "$@" -o "$objects/judge"
status=0
"$objects/judge" "$number" ${explain:+--explain} || status=$?
[ $status -le 1 ]
