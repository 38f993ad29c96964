#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install.sh check [FLAGS] - finds Check (https://libcheck.github.io/check), the tests' only dependency, and installs it
#                            by the system's package manager when it is missing; `make test` calls this.
# install.sh ci            - the same for everything that .ci/run needs: compilers, clang's sanitizers and OpenMP,
#                            clang-format, valgrind, CMake, pkg-config, Check.
# install.sh long          - the same and, by apt-get alone, the cross compilers, qemu and both MPIs of .ci/long; a step
#                            whose tools are missing says so and passes.
#
# Check is found when a program that uses it compiles and links with $CC; the flags for it go to the file FLAGS, on one
# line. Where the packages can not be installed, prints the command that would; exit status 1.
set -eu

cc=${CC:-cc}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail()
{
    echo "install.sh: $*" >&2
    exit 1
}

# The command that installs what the group ($1: check, ci or long) needs here; nothing where we know no package manager.
install_command()
{
    more='' every='make git valgrind cmake pkgconf python3'
    if command -v apt-get >/dev/null 2>&1; then
        [ "$1" = check ] || more=" $every gcc g++ libc6-dev libc6-dbg clang libomp-dev clang-format"
        [ "$1" != long ] || more="$more gcc-i686-linux-gnu libc6-i386 musl-tools gcc-aarch64-linux-gnu \
gcc-riscv64-linux-gnu gcc-s390x-linux-gnu qemu-user openmpi-bin libopenmpi-dev mpich libmpich-dev"
        echo "apt-get install -y --no-install-recommends check$more"
    elif command -v dnf >/dev/null 2>&1; then
        [ "$1" = check ] || more=" $every gcc gcc-c++ clang compiler-rt libomp-devel clang-tools-extra"
        echo "dnf install -y check-devel$more"
    elif command -v apk >/dev/null 2>&1; then
        [ "$1" = check ] || more=" $every bash gcc g++ musl-dev clang compiler-rt openmp-dev clang-extra-tools"
        echo "apk add check-dev$more"
    elif command -v pacman >/dev/null 2>&1; then
        [ "$1" = check ] || more=" $every gcc clang compiler-rt openmp"
        echo "pacman -S --noconfirm check$more"
    elif command -v brew >/dev/null 2>&1; then
        [ "$1" = check ] || more=" libomp clang-format cmake pkgconf"
        echo "brew install check$more"
    fi
}

# Runs that command, with sudo where it takes root.
install_packages() # group, why
{
    install=$(install_command "$1")
    [ -n "$install" ] || fail "$2, and no package manager that this script knows is here. Install it and try again."
    case $install in
    brew*) ;;
    *)
        if [ "$(id -u)" -ne 0 ]; then
            command -v sudo >/dev/null 2>&1 || fail "$2. As root, run: $install"
            install="sudo $install"
        fi
        ;;
    esac
    echo "$2. Running: $install"
    export DEBIAN_FRONTEND=noninteractive
    if ! $install; then
        case $install in
        *apt-get*) # the package lists may be missing or old
            ${install%%apt-get*} apt-get update && $install || true
            ;;
        esac
    fi
}

# ---- Check ----

# The flags that pkg-config knows; else those of the systems we know, with and without subunit.
find_check() # FLAGS or nothing
{
    cat >"$folder/t.c" <<END
#include <check.h>
int main(void) { return srunner_create(suite_create("s")) == 0; }
END
    known=''
    if command -v pkg-config >/dev/null 2>&1; then
        known=$(pkg-config --cflags --libs check 2>/dev/null) || known=''
    fi
    brew=''
    if command -v brew >/dev/null 2>&1; then
        brew="-I$(brew --prefix)/include -L$(brew --prefix)/lib"
    fi
    for try in "$known" '-lcheck -lsubunit -lrt -lm -pthread' '-lcheck -lrt -lm -pthread' \
        "$brew -lcheck -lm -pthread"; do
        # Unquoted: words.
        # shellcheck disable=SC2086
        if [ -n "$try" ] && $cc "$folder/t.c" -o "$folder/t" $try >"$folder/log" 2>&1; then
            if [ -n "$1" ]; then
                mkdir -p "$(dirname "$1")"
                echo "$try" >"$1"
            fi
            return 0
        fi
    done
    return 1
}

need_check() # FLAGS or nothing
{
    find_check "$1" && return
    command -v "${cc%% *}" >/dev/null 2>&1 || fail "there is no C compiler '$cc'"
    install_packages check 'The tests need Check, which is not installed'
    find_check "$1" || {
        cat "$folder/log" >&2
        fail "Check could not be installed. Run: $install"
    }
}

# ---- Everything for .ci/run ----

# The first of the tools that is missing or does not work; nothing when all do.
missing_tool()
{
    for tool in make gcc g++ clang clang++ clang-format valgrind git cmake pkg-config python3; do
        command -v $tool >/dev/null 2>&1 || { echo $tool; return; }
    done
    echo 'int main(void) { return 0; }' >"$folder/t.c"
    for flag in -fopenmp -fsanitize=address,undefined; do
        clang $flag "$folder/t.c" -o "$folder/t" 2>/dev/null || { echo "clang $flag"; return; }
    done
}

need_tools()
{
    missing=$(missing_tool)
    [ -n "$missing" ] || return 0
    install_packages ci "'$missing' is missing or does not work"
    # Debian 12 has clang's sanitizers in a package of their own.
    if [ "$(missing_tool)" = 'clang -fsanitize=address,undefined' ] && command -v apt-get >/dev/null 2>&1; then
        version=$(clang -dumpversion | cut -d. -f1)
        ${install%%apt-get*} apt-get install -y --no-install-recommends "libclang-rt-$version-dev"
    fi
    missing=$(missing_tool)
    [ -z "$missing" ] || fail "'$missing' could not be installed. Run: $install"
}

# ---- More for .ci/long ----

need_machines()
{
    command -v apt-get >/dev/null 2>&1 || return 0
    for tool in i686-linux-gnu-gcc musl-gcc aarch64-linux-gnu-gcc riscv64-linux-gnu-gcc s390x-linux-gnu-gcc qemu-s390x \
        mpicc.openmpi mpicc.mpich; do
        if ! command -v $tool >/dev/null 2>&1; then
            install_packages long "'$tool' is missing"
            return
        fi
    done
}

case ${1:-} in
check) need_check "${2:-}" ;;
ci | long)
    need_tools
    need_check ''
    [ "$1" = ci ] || need_machines
    ;;
*)
    echo 'usage: install.sh check [FLAGS] | ci | long' >&2
    exit 2
    ;;
esac
