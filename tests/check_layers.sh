#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_layers.sh [BUILD] - proves tensor <- autograd <- nn <- examples; runs in the project's root.
#
# A folder includes itself and what stands to its left; examples include the public headers and their own. With
# BUILD, a folder with <folder>/*.o in it, no object uses a symbol that a folder to its right defines. Prints each
# offending line as file:line or object: symbol; exit status 1 when there is one.
set -eu

folders='tensor autograd nn examples'
public='attngrad.h tensor/tensor.h autograd/autograd.h nn/nn.h tensor/files/files.h autograd/watch/watch.h autograd/gradcheck/gradcheck.h
        nn/models/models.h nn/gradcheck/module_gradcheck.h'
failed=0

# The path that #include "$2" in file $1 means, from the root: beside the file first, as the compiler looks.
resolve()
{
    beside=$(dirname "$1")/$2
    if [ ! -f "$beside" ]; then
        echo "$2"
        return
    fi
    echo "$beside" | awk -F/ '{
        n = 0
        for (i = 1; i <= NF; i++)
            if ($i == "..") n--
            else if ($i != ".") part[++n] = $i
        for (i = 1; i <= n; i++) printf "%s%s", part[i], i < n ? "/" : "\n"
    }'
}

includes_of() # "file line header" for every #include "header"; a computed one stands as it is written
{
    find "$1" -type f \( -name '*.c' -o -name '*.h' -o -name '*.inc' -o -name '*.def' \) | LC_ALL=C sort |
        while read -r file; do
            awk -v file="$file" '/^[ \t]*#[ \t]*include[ \t]*[^< \t]/ {
                line = $0
                sub(/^[ \t]*#[ \t]*include[ \t]*/, "", line)
                sub(/^"/, "", line)
                sub(/".*/, "", line)
                print file, FNR, line
            }' "$file"
        done
}

check_includes()
{
    allowed=''
    for folder in $folders; do
        allowed="$allowed $folder"
        [ -d "$folder" ] || continue
        includes_of "$folder" | {
            wrong=0
            while read -r file line header; do
                path=$(resolve "$file" "$header")
                fits=0
                if [ "$folder" = examples ]; then
                    for known in $public; do
                        [ "$path" = "$known" ] && fits=1
                    done
                    case $path in examples/*) fits=1 ;; esac
                else
                    for left in $allowed; do
                        case $path in "$left"/*) fits=1 ;; esac
                    done
                fi
                if [ $fits -eq 0 ]; then
                    echo "$file:$line: $folder/ must not include $path"
                    wrong=1
                fi
            done
            exit $wrong
        } || failed=1
    done
}

# "folder object symbol U" where it is used, "... D" where it is defined.
symbols()
{
    for folder in $folders; do
        [ -d "$build/$folder" ] || continue
        find "$build/$folder" -type f -name '*.o' | LC_ALL=C sort | while read -r object; do
            nm -g -P "$object" | awk -v folder="$folder" -v object="$object" \
                'NF >= 2 && $1 !~ /:$/ && $1 != "main" { print folder, object, $1, ($2 == "U" ? "U" : "D") }'
        done
    done
}

check_symbols()
{
    symbols | awk -v folders="$folders" '
        BEGIN { count = split(folders, name, " "); for (i = 1; i <= count; i++) rank[name[i]] = i }
        $4 == "D" { if (!($3 in home) || rank[$1] < rank[home[$3]]) home[$3] = $1 }
        $4 == "U" { used[++uses] = $0 }
        END {
            for (i = 1; i <= uses; i++) {
                split(used[i], u, " ")
                if ((u[3] in home) && rank[home[u[3]]] > rank[u[1]]) {
                    print u[2] ": " u[1] "/ must not use " u[3] " of " home[u[3]] "/"
                    wrong = 1
                }
            }
            exit wrong
        }' || failed=1
}

check_includes
if [ $# -gt 0 ]; then
    build=$1
    [ -n "$(find "$build" -name '*.o' 2>/dev/null | head -n 1)" ] || {
        echo "check_layers.sh: $build has no objects" >&2
        exit 2
    }
    check_symbols
fi
[ $failed -ne 0 ] || echo "layers: tensor <- autograd <- nn <- examples holds"
exit $failed
