#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_layers.sh [OBJECTS] - checks the walls between the folders; runs in the project's root.
#
#   tensor <- autograd <- nn <- examples   a folder uses itself and folders to its left
#   core   <- annex                        tensor, tensor/kernels, autograd and nn use no annex; every other folder
#                                          inside these is an annex: it uses the core of its own layer and everything
#                                          to its left, annexes included, and no other annex of its own layer; but
#                                          autograd/gradcheck, which watches tapes, uses autograd/watch, and
#                                          nn/models, made of all that nn has, nn/positions
#   public <- examples                     examples use attngrad.h, the headers that it includes, and their own files;
#                                          but examples/shared reads JSON with tensor/files/json.h
#   ISO C  <- all                          headers of a system, or of OpenMP and MPI, are in the files named below alone
#
# Includes are checked always; with OBJECTS, a folder with <folder>/*.o in it, symbols too. Prints each violation as
# `file:line: folder/ must not include header` or `object: folder/ must not use symbol of folder/`; exit status 1 when
# there is one.
set -eu

failed=0

# may(a, b): whether folder a of the library may use folder b.
walls='
function layer(folder) { sub("/.*", "", folder); return folder }
function annex(folder) { return folder ~ "/" && folder != "tensor/kernels" && layer(folder) != "examples" }
function folder_of(path) { return sub("/[^/]*$", "", path) ? path : "" }
function may(a, b) {
    if (!(layer(b) in rank) || rank[layer(b)] > rank[layer(a)])
        return 0
    return !annex(b) || a == b || layer(b) != layer(a) && annex(a) || (a, b) in uses_too
}
BEGIN {
    uses_too["autograd/gradcheck", "autograd/watch"]
    uses_too["nn/models", "nn/positions"]
    split("tensor autograd nn examples", layers, " "); for (i in layers) rank[layers[i]] = i + 0
}'

# Which file may have which headers that are not of ISO C.
systems='
BEGIN {
    iso = "^(assert|complex|ctype|errno|float|inttypes|limits|locale|math|setjmp|signal|std(arg|bool|def|int|io|lib)|" \
          "string|time)[.]h$"
    has["tensor/ctx.c"] = has["tensor/team.c"] = has["tensor/threads/hold.c"] = "omp.h unistd.h"
    has["tensor/files/replace.c"] = has["examples/shared/system_posix.c"] = "."
    has["examples/shared/system.c"] = "dirent.h"
    has["examples/shared/system_windows.c"] = "."
    has["examples/shared/pages.c"] = "sys/mman.h"
    has["examples/lm/mpi/lm_mpi.c"] = "mpi.h sched.h unistd.h"
}
function may_include(file, header)
{
    return header ~ iso || has[file] == "." || index(" " has[file] " ", " " header " ") > 0
}'

check_includes()
{
    find tensor autograd nn examples attngrad.h -type f -name '*.[chid]*' | LC_ALL=C sort | awk "$walls$systems"'
    # The path from the root that #include "header" in `file` means: beside the file first, as the compiler looks.
    function resolve(file, header,    path) {
        path = folder_of(file) "/" header
        while (sub("[^/]+/[.][.]/", "", path)) { }
        return path in known ? path : header
    }
    { known[$0]; files[++count] = $0 }
    END {
        for (i = 1; i <= count; i++)
            for (line = 1; (getline text < files[i]) > 0; line++)
                if (match(text, "^[ \t]*#[ \t]*include[ \t]*[\"<]")) {
                    text = substr(text, RLENGTH + 1)
                    system_header = text ~ "^[^\"]*>"
                    sub("[\">].*", "", text)
                    path = resolve(files[i], text)
                    if (system_header && !(path in known)) {
                        if (!may_include(files[i], path)) {
                            print files[i] ":" line ": " folder_of(files[i]) "/ must not include <" path ">"
                            wrong = 1
                        }
                        continue
                    }
                    if (files[i] == "attngrad.h")
                        public[path]
                    else {
                        place[++uses] = files[i] ":" line
                        from[uses] = folder_of(files[i])
                        header[uses] = path
                    }
                } else if (text ~ "^[ \t]*#[ \t]*include") {
                    print files[i] ":" line ": the header of an #include must be written out"
                    wrong = 1
                }
        public["attngrad.h"]
        for (i = 1; i <= uses; i++) {
            to = header[i]
            if (layer(from[i]) == "examples" ? to in public || layer(to) == "examples" || \
                from[i] == "examples/shared" && to == "tensor/files/json.h" : may(from[i], folder_of(to)))
                continue
            print place[i] ": " from[i] "/ must not include " to
            wrong = 1
        }
        exit wrong
    }' || failed=1
}

object_files() # those whose source is in the tree
{
    for layer in tensor autograd nn examples; do
        [ ! -d "$objects/$layer" ] || (cd "$objects" && find "$layer" -name '*.o')
    done | while read -r object; do
        [ ! -f "${object%.o}.c" ] && [ "${object%_*}" != tensor/kernels/kernels ] || echo "$objects/$object"
    done
}

check_symbols()
{
    public=$(sed -n 's/^#include "\(.*\)"/\1/p' attngrad.h)
    # Unquoted: words.
    # shellcheck disable=SC2086
    {
        cat $public
        sed -n 's/.*\(ag_[a-z_0-9]*\)(.*);.*/reader: \1/p' tensor/files/json.h
        object_files | xargs nm -A -g -P
    } |
        awk -v objects="$objects/" "$walls"'
        function folder_of_object(path) { return folder_of(substr(path, length(objects) + 1)) }
        $1 == "reader:" { reader[$2]; next }
        $1 !~ "[.]o:$" { # a line of a public header
            while (match($0, "[A-Za-z_][A-Za-z_0-9]*")) {
                public[substr($0, RSTART, RLENGTH)]
                $0 = substr($0, RSTART + RLENGTH)
            }
            next
        }
        { sub("^_", "", $2) }
        $3 == "U" { object[++uses] = $1; name[uses] = $2; next }
        !($2 in home) { home[$2] = folder_of_object($1) }
        END {
            for (i = 1; i <= uses; i++) {
                folder = folder_of_object(object[i])
                if (!(name[i] in home) || name[i] == "main")
                    continue
                to = home[name[i]]
                if (layer(folder) == "examples" ? name[i] in public || layer(to) == "examples" || \
                    folder == "examples/shared" && name[i] in reader : may(folder, to))
                    continue
                print object[i] " " folder "/ must not use " name[i] " of " to "/"
                wrong = 1
            }
            exit wrong
        }' || failed=1
}

check_includes
if [ $# -gt 0 ]; then
    objects=$1
    [ -n "$(find "$objects" -name '*.o' 2>/dev/null | head -n 1)" ] || {
        echo "check_layers.sh: $objects has no objects" >&2
        exit 2
    }
    check_symbols
fi
[ $failed -ne 0 ] || echo 'layers: tensor <- autograd <- nn <- examples and core <- annex hold, and ISO C <- all'
exit $failed
