#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_install.sh BUILD - `make install` into a staging folder, with the options of the build (CC, openmp, LDFLAGS): a
# program outside the tree is built by pkg-config, by CMake and by plain cc, static and shared, and runs; the shared
# library exports what the public headers declare and nothing else; `make uninstall` leaves nothing.
set -eu

build=$1
cc=${CC:-cc}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

fail()
{
    echo "check_install: $*" >&2
    exit 1
}

make_it() # target, further variables
{
    make --no-print-directory build="$build" DESTDIR="$stage/staged" "$@" >"$stage/log" 2>&1 || {
        cat "$stage/log" >&2
        fail "make $1 failed"
    }
}

prints_10() # how, program
{
    result=$("$2") || fail "$1: the program failed"
    [ "$result" = 'gradient 10, version 0.1.0' ] || fail "$1: printed '$result'"
    echo "check_install: $1"
}

for libdir in /opt/ag/lib /opt/ag/lib/arch; do
    (umask 077; make_it install PREFIX=/opt/ag LIBDIR=$libdir)
    hidden=$(find "$stage/staged" ! -perm -444 -o -type d ! -perm -555)
    [ -z "$hidden" ] || fail "others can not read $hidden"
    top=$stage/staged/opt/ag lib=$stage/staged$libdir
    mkdir -p "$stage/use"
    cat >"$stage/use/program.c" <<'END'
#include <attngrad.h>

#include <stdio.h>

int main(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    ag_tensor *x = ag_full(ctx, AG_F32, AG_SHAPE(1), 5);
    double gradient = 0;
    ag_require_grad(x);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_backward(tape, ag_mul(x, x));
    ag_item(ag_grad(x), &gradient);
    printf("gradient %g, version %s\n", gradient, ag_version());
    ag_tape_end(tape);
    return ag_ctx_free(ctx) != 0;
}
END
    cd "$stage/use"
    # Unquoted: words.
    # shellcheck disable=SC2086
    {
    if command -v pkg-config >/dev/null 2>&1; then
        PKG_CONFIG_PATH=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$stage/staged
        export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
        $cc -std=c99 program.c $(pkg-config --cflags --libs attngrad) -o shared ${LDFLAGS-}
        LD_LIBRARY_PATH=$lib prints_10 'pkg-config, shared' ./shared
        $cc -std=c99 program.c $(pkg-config --cflags attngrad) "$lib/libattngrad.a" \
            $(pkg-config --libs --static attngrad | sed 's/-lattngrad//') -o static ${LDFLAGS-}
        prints_10 'pkg-config, static' ./static
    else
        echo 'check_install: skipped, no pkg-config'
    fi
    $cc -std=c99 -I"$top/include/attngrad" program.c -L"$lib" -lattngrad -o plain ${LDFLAGS-}
    LD_LIBRARY_PATH=$lib prints_10 'plain cc' ./plain
    sed 's|<attngrad.h>|<attngrad/attngrad.h>|' program.c >folder.c
    $cc -std=c99 -I"$top/include" folder.c -L"$lib" -lattngrad -o folder ${LDFLAGS-}
    LD_LIBRARY_PATH=$lib prints_10 'plain cc, <attngrad/attngrad.h>' ./folder
    }
    if command -v cmake >/dev/null 2>&1; then
        cat >CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.10)
project(use C)
find_package(attngrad 0.1 REQUIRED)
add_executable(use_shared program.c)
target_link_libraries(use_shared attngrad::attngrad)
add_executable(use_static program.c)
target_link_libraries(use_static attngrad::static)
END
        CC=$cc cmake -S . -B cmake -Dattngrad_DIR="$lib/cmake/attngrad" >"$stage/log" 2>&1 &&
            cmake --build cmake >>"$stage/log" 2>&1 || { cat "$stage/log" >&2; fail 'CMake failed'; }
        prints_10 'CMake, shared' cmake/use_shared
        prints_10 'CMake, static' cmake/use_static
        rm -rf cmake
        if sed 's/attngrad 0.1/attngrad 0.2/' CMakeLists.txt >"$stage/other" && mv "$stage/other" CMakeLists.txt &&
            CC=$cc cmake -S . -B cmake -Dattngrad_DIR="$lib/cmake/attngrad" >"$stage/log" 2>&1; then
            fail 'CMake takes 0.1 for 0.2'
        fi
        rm -rf cmake
    else
        echo 'check_install: skipped, no cmake'
    fi
    cd - >/dev/null

    nm -D --defined-only "$lib/libattngrad.so" | awk '{ print $3 }' | LC_ALL=C sort >"$stage/exported"
    grep -v '^ag_' "$stage/exported" && fail 'exports names that are not ag_'
    grep -qx ag_mha_forward "$stage/exported" || fail 'does not export ag_mha_forward'
    grep -rhow 'ag_[a-z0-9_]*' "$top/include" | LC_ALL=C sort -u >"$stage/declared"
    LC_ALL=C comm -23 "$stage/exported" "$stage/declared" | grep . && fail 'exports what no header declares'
    for page in "$top"/share/man/man1/*.1; do
        if command -v groff >/dev/null 2>&1; then
            groff -man -ww -z "$page" 2>"$stage/log" && [ ! -s "$stage/log" ] || { cat "$stage/log"; fail "$page"; }
        fi
        grep -q '^\.SH DESCRIPTION\|^\.SH ATTNGRAD' "$page" || fail "$page describes nothing"
    done
    cd "$stage" # where the bundled text is not
    "$top/bin/attngrad-lm" train --steps 2 --sample 0 --out run >log 2>&1 ||
        { cat log; fail 'attngrad-lm train failed'; }
    rm -r run
    cd - >/dev/null
    "$top/bin/attngrad-gradcheck" linear >"$stage/log" || fail 'attngrad-gradcheck linear failed'

    make_it uninstall PREFIX=/opt/ag LIBDIR=$libdir
    find "$stage/staged" ! -type d | grep . && fail 'make uninstall left these'
done
echo "check_install: all is gone after make uninstall"
