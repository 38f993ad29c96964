#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_layers_planted.sh FOLDER - proves that check_layers.sh finds a violation of every wall; runs in the project's
# root and works in FOLDER, which it replaces.
#
# The table says which folders each folder may use. In a copy of the sources every allowed pair is planted, as an
# include and as a symbol: the check must pass. Then every forbidden pair: the check must print one line for each, and
# nothing else. Exit status 1 when it does not.
set -eu

left_of_autograd='tensor tensor/kernels tensor/files tensor/threads'
left_of_nn="$left_of_autograd autograd"
left_of_nn="$left_of_nn autograd/watch autograd/recompute autograd/gradcheck"
table="
tensor             tensor tensor/kernels
tensor/kernels     tensor tensor/kernels
tensor/files       tensor tensor/kernels tensor/files
tensor/threads     tensor tensor/kernels tensor/threads
autograd           tensor tensor/kernels autograd
autograd/watch     $left_of_autograd autograd autograd/watch
autograd/recompute $left_of_autograd autograd autograd/recompute
autograd/gradcheck $left_of_autograd autograd autograd/watch autograd/gradcheck
nn                 tensor tensor/kernels autograd nn
nn/positions       $left_of_nn nn nn/positions
nn/models          $left_of_nn nn nn/positions nn/models
nn/parallel        $left_of_nn nn nn/parallel
nn/gradcheck       $left_of_nn nn nn/gradcheck
examples           examples examples/shared
examples/shared    examples examples/shared"

fault()
{
    echo "check_layers_planted.sh: $*" >&2
    exit 1
}

symbol() { echo "planted_in_$1" | tr / _; }

allowed() # whether the table lets folder $1 use folder $2
{
    echo "$table" | awk -v a="$1" -v b="$2" '
        $1 == a { for (i = 2; i <= NF; i++) if ($i == b) yes = 1 }
        END { exit !yes }'
}

compile() # the name of a source without .c
{
    mkdir -p "objects/${1%/*}"
    ${CC:-cc} -I. -c "$1.c" -o "objects/$1.o"
}

expect() # what is planted, the lines that the check must print
{
    status=0
    sh tests/check_layers.sh objects >printed || status=$?
    if [ -z "$2" ]; then
        [ $status -eq 0 ] || { cat printed >&2; fault "$1: the check fails"; }
    else
        [ $status -eq 1 ] || fault "$1: the check passes"
        LC_ALL=C sort printed >sorted
        echo "$2" | sed '/^$/d' | LC_ALL=C sort | diff - sorted >&2 || fault "$1: the check prints something else"
    fi
}

folder=$1
rm -rf "$folder"
mkdir -p "$folder/tests" "$folder/examples"
cp -R tensor autograd nn attngrad.h "$folder"
cp -R examples/*.c examples/shared "$folder/examples"
cp tests/check_layers.sh "$folder/tests"
cd "$folder"

folders=$(echo "$table" | awk 'NF { print $1 }')
for found in $(find tensor autograd nn -name '*.c' | sed 's|/[^/]*$||' | sort -u); do
    echo "$folders" | grep -qx "$found" || fault "the table has no line for $found"
done

# In each folder a private header, and an object with a private symbol.
for to in $folders; do
    echo "void $(symbol "$to")(void);" >"$to/planted_impl.h"
    echo "#include \"$to/planted_impl.h\"
void $(symbol "$to")(void) { }" >"$to/planted.c"
    compile "$to/planted"
done
expect 'private headers and symbols' ''

# A public symbol of every layer, which examples may use.
echo 'void planted_public(void);' >>nn/models/models.h
echo 'void planted_public(void); void planted_public(void) { }' >nn/models/planted_public.c
echo 'void planted_public(void); int main(void) { planted_public(); }' >examples/planted_public.c
echo '#include "attngrad.h"
#include "nn/models/models.h"' >>examples/planted_public.c
compile nn/models/planted_public
compile examples/planted_public
expect 'an example that uses what is public' ''

# use.c of a folder includes and calls one folder after the other: those that it may use, or the others.
plant() # folder, what it uses: the lines that the check must print
{
    line=0 calls=''
    : >"$1/use.c"
    for to in $2; do
        line=$((line + 1)) calls="$calls $(symbol "$to")();"
        echo "#include \"$to/planted_impl.h\"" >>"$1/use.c"
        echo "$1/use.c:$line: $1/ must not include $to/planted_impl.h"
        echo "objects/$1/use.o: $1/ must not use $(symbol "$to") of $to/"
    done
    echo "void use_in_$(symbol "$1")(void); void use_in_$(symbol "$1")(void) { $calls }" >>"$1/use.c"
    compile "$1/use"
}

pairs=0 walls=''
for from in $folders; do
    mine=''
    for to in $folders; do
        ! allowed "$from" "$to" || mine="$mine $to"
    done
    plant "$from" "$mine" >/dev/null
done
expect 'every allowed pair of folders' ''
for from in $folders; do
    others=''
    for to in $folders; do
        allowed "$from" "$to" || { others="$others $to" pairs=$((pairs + 1)); }
    done
    walls="$walls
$(plant "$from" "$others")"
done
expect 'every forbidden pair of folders' "$walls"

# Other ways to write an include.
find . -name 'use.[co]' -exec rm {} +
echo '#include "../../autograd/planted_impl.h"' >tensor/files/use.c
echo '#  include <autograd/watch/planted_impl.h>' >autograd/use.c
echo '#include HEADER' >nn/use.c
echo '#include "../nn/planted_impl.h"' >examples/use.c
echo '#include <unistd.h>' >nn/models/use.c
echo '#include <sys/stat.h>' >examples/shared/use.c
echo '#include <time.h>' >autograd/gradcheck/use.c
expect 'other ways to write an include' "
tensor/files/use.c:1: tensor/files/ must not include autograd/planted_impl.h
autograd/use.c:1: autograd/ must not include autograd/watch/planted_impl.h
nn/use.c:1: the header of an #include must be written out
nn/models/use.c:1: nn/models/ must not include <unistd.h>
examples/shared/use.c:1: examples/shared/ must not include <sys/stat.h>
examples/use.c:1: examples/ must not include nn/planted_impl.h"
echo "layers: $pairs pairs of folders have a wall; a planted include and a planted symbol are found at each"
