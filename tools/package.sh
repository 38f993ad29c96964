#!/bin/sh
# SPDX-License-Identifier: MIT
#
# package.sh install|uninstall - what `make install` and `make uninstall` do; the Makefile sets the variables below.
# package.sh exports HEADERS... - a linker's version script that exports the functions and data which HEADERS declare.
#
# prefix and libdir are where things will be; they are written below destdir. The headers go to one folder, with paths
# relative to each other, so that both -Iinclude/attngrad <attngrad.h> and <attngrad/attngrad.h> work.
set -eu

# ---- What a header promises ----

# Every name of the library's that stands in the headers, in or out of a comment: names that are no symbol do no harm.
exports()
{
    echo '{ global:'
    grep -oh 'ag_[a-z0-9_]*' "$@" | LC_ALL=C sort -u | sed 's/$/;/'
    echo 'local: *; };'
}

# ---- Files that are made here ----

pkg_config_file()
{
    cat <<END
prefix=$prefix
includedir=\${prefix}/include/attngrad
libdir=$libdir

Name: attngrad
Description: Tensors, tape-based automatic differentiation and attention layers in C99
Version: $version
Cflags: -I\${includedir}
Libs: -L\${libdir} -lattngrad
Libs.private: $private_libs
END
}

# The folder of the config file gives all paths, so that a staged or moved tree works; a libdir that is not below prefix
# makes them absolute.
cmake_config()
{
    case $libdir in
    "$prefix"/*) root='${CMAKE_CURRENT_LIST_DIR}'$(echo "${libdir#"$prefix"}/cmake/attngrad" | sed 's|/[^/]*|/..|g') ;;
    *) root=$prefix ;;
    esac
    cat <<END
get_filename_component(_attngrad_root "$root" ABSOLUTE)
get_filename_component(_attngrad_lib "\${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
if(NOT TARGET attngrad::attngrad)
    add_library(attngrad::attngrad SHARED IMPORTED)
    set_target_properties(attngrad::attngrad PROPERTIES
        IMPORTED_LOCATION "\${_attngrad_lib}/libattngrad.so.$version"
        IMPORTED_SONAME "libattngrad.so.$soversion"
        INTERFACE_INCLUDE_DIRECTORIES "\${_attngrad_root}/include/attngrad")
    add_library(attngrad::static STATIC IMPORTED)
    set_target_properties(attngrad::static PROPERTIES
        IMPORTED_LOCATION "\${_attngrad_lib}/libattngrad.a"
        INTERFACE_INCLUDE_DIRECTORIES "\${_attngrad_root}/include/attngrad"
        INTERFACE_LINK_LIBRARIES "$(echo "$private_libs" | sed 's/ /;/g')")
endif()
unset(_attngrad_root)
unset(_attngrad_lib)
END
}

# Versions 0.x promise nothing to each other.
cmake_version()
{
    cat <<END
set(PACKAGE_VERSION "$version")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION OR
   (PACKAGE_FIND_VERSION AND NOT "\${PACKAGE_FIND_VERSION_MAJOR}.\${PACKAGE_FIND_VERSION_MINOR}" STREQUAL
    "${version%.*}"))
    set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
    if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
        set(PACKAGE_VERSION_EXACT TRUE)
    endif()
endif()
END
}

relative_includes() # header
{
    up=$(echo "$1" | sed 's|[^/]*$||; s|[^/]*/|../|g')
    sed "s|^#include \"|&$up|" "$1"
}

# A manual page from the help texts of a program and its subcommands.
manual() # name, program, subcommand...
{
    name=$1 program=$2
    shift 2
    about=$("$program" --help |
        awk '/^[A-Z]/ { on = 1 } /^$/ && on { exit } on { text = text $0 " " } END { print text }' | sed 's/\. .*//')
    {
        "$program" --help
        for sub in "$@"; do
            printf '\f%s\n' "$sub"
            "$program" "$sub" --help
        done
    } | awk -v name="attngrad-$name" -v plain="$name" -v about="${about:-part of attngrad}" \
        -v version="$version" -f tools/manual.awk
}

# ---- Where each file goes ----

# Calls its argument for every file of the installation: mode, target, and the command that writes it.
each()
{
    include=$prefix/include/attngrad man=$prefix/share/man/man1
    for header in $headers; do
        "$1" 644 "$include/$header" relative_includes "$header"
    done
    "$1" 644 "$libdir/libattngrad.a" cat "$build/libattngrad.a"
    "$1" 755 "$libdir/libattngrad.so.$version" cat "$build/libattngrad.so.$version"
    "$1" link "$libdir/libattngrad.so.$soversion" "libattngrad.so.$version"
    "$1" link "$libdir/libattngrad.so" "libattngrad.so.$soversion"
    "$1" 644 "$libdir/pkgconfig/attngrad.pc" pkg_config_file
    "$1" 644 "$libdir/cmake/attngrad/attngradConfig.cmake" cmake_config
    "$1" 644 "$libdir/cmake/attngrad/attngradConfigVersion.cmake" cmake_version
    "$1" 644 "$prefix/share/attngrad/pride_and_prejudice.txt" cat examples/data/pride_and_prejudice.txt
    for program in $programs; do
        "$1" 755 "$prefix/bin/attngrad-$program" cat "$build/examples/$program"
        # Unquoted: words.
        # shellcheck disable=SC2046
        "$1" 644 "$man/attngrad-$program.1" manual "$program" "$build/examples/$program" \
            $("$build/examples/$program" --help |
                sed -n "/^usage: $program COMMAND /,\$ s|^  \([a-z]*\)  .*|\1|p")
    done
}

put() # mode, target, command...
{
    mode=$1 target=$destdir$2
    shift 2
    mkdir -p "${target%/*}"
    rm -f "$target"
    if [ "$mode" = link ]; then
        ln -s "$1" "$target"
    else
        "$@" >"$target"
        chmod "$mode" "$target"
    fi
}

take_away() # mode, target
{
    rm -f "$destdir$2"
    folder=$destdir${2%/*}
    # Folders of the library's own, and the empty ones below them.
    while case $folder in */attngrad | */attngrad/*) true ;; *) false ;; esac && rmdir "$folder" 2>/dev/null; do
        folder=${folder%/*}
    done
}

case ${1:-} in
install)
    umask 022 # for all to read, folders too
    each put
    ;;
uninstall) each take_away ;;
exports)
    shift
    exports "$@"
    ;;
*)
    echo 'usage: package.sh install | uninstall | exports HEADERS...' >&2
    exit 2
    ;;
esac
