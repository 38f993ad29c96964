#!/bin/sh
# SPDX-License-Identifier: MIT
#
# platforms.sh SUITES [MACHINE...] - the library, `lm`, `gradcheck` and the suites, built by the cross compilers that
#     are installed and run: all suites on this processor (32 bits; musl), SUITES by qemu on the others. A model that
#     `lm` trains there is read here, and must have the same loss. For Windows and macOS the two files of `make release`
#     and tests/portable.c, by zig (PyPI's ziglang); Wine runs it for Windows, nothing here runs it for macOS. Prints a
#     table of what was built and what ran; a machine whose compiler or emulator is missing has a line that says so.
#     From the project's root; builds are in build/platforms.
set -eu

suites=$1
shift
[ $# -gt 0 ] || set -- i686 musl aarch64 riscv64 s390x windows macos-arm macos-x86
here=build/release-gcc/examples
export OMP_NUM_THREADS=1

# Of the machine: compiler, options, emulator (none: the processor runs it), Debian's packages, a word about it.
describe() # machine
{
    emulator='' about='little-endian, 64 bits' packages='' options=-g
    case $1 in
    i686) # not by x87, whose wider numbers the suites' constants would have
        compiler=i686-linux-gnu-gcc packages='gcc-i686-linux-gnu libc6-i386' about='32 bits, SSE2'
        options='-g -msse2 -mfpmath=sse'
        ;;
    musl) compiler=musl-gcc packages=musl-tools about='musl' ;;
    s390x) about='big-endian' compiler=s390x-linux-gnu-gcc emulator=qemu-s390x ;;
    *) compiler=$1-linux-gnu-gcc emulator=qemu-$1 ;;
    esac
    [ -z "$emulator" ] || packages="gcc-$(echo "$compiler" | sed 's/-gcc//') qemu-user"
}

run() { ${emulator:+$emulator -L "/usr/${compiler%-gcc}"} "$@"; } # a program of the machine

failed_step() # what failed: the end of its log
{
    tail -n 20 "$build/log"
    echo "FAIL  $machine: $1"
    exit 1
}

# 20 steps there; the validation loss of what they saved, there and here.
losses_agree()
{
    rm -rf "$build/run"
    run "$build/examples/lm" train --steps 20 --layers 1 --emb 32 --heads 2 --context 32 --batch 4 --sample 0 \
        --threads 1 --out "$build/run" >"$build/log" 2>&1 || return 1
    head -c 5000 examples/data/pride_and_prejudice.txt >"$build/text"
    run "$build/examples/lm" eval "$build/text" --model "$build/run" >"$build/there" 2>>"$build/log" || return 1
    $here/lm eval "$build/text" --model "$build/run" >"$build/here" 2>>"$build/log" || return 1
    LC_ALL=C awk '/ nats per / { d = $1 - first; first = $1; n++ } END { exit !(n == 2 && d * d < 1e-6) }' \
        "$build/there" "$build/here"
}

# ---- Windows and macOS ----

zig='zig'
command -v zig >/dev/null || zig="${PYTHON:-python3} -m ziglang"

try_zig() # zig's name of the machine, Wine if it can run its programs
{
    target=$1 wine=''
    if ! $zig version >/dev/null 2>&1; then
        echo "skip  $machine: not installed (pip install ziglang)"
        return
    fi
    for candidate in ${2:-}; do
        ! command -v "$candidate" >/dev/null || wine=$candidate
    done
    mkdir -p "$build"
    python3 tools/release.py "$build"
    $zig cc -target "$target" -std=c99 -O1 -ffp-contract=fast -Wall -Wextra -Wno-missing-field-initializers -Werror \
        -I"$build" "$build/attngrad.c" tests/portable.c -lm -o "$build/portable.exe" >"$build/log" 2>&1 ||
        failed_step 'does not build'
    result='built, not run'
    if [ -n "$wine" ]; then
        (cd "$build" && WINEDEBUG=-all WINEPREFIX=$PWD/wine "$wine" portable.exe saved >log 2>&1) ||
            failed_step 'tests/portable.c'
        result="tests/portable.c $(sed -n '/^ok/p' "$build/log" | tr -d '\r') (${wine##*/})"
    fi
    printf 'ok    %-9s %-22s %-34s %s\n' "$machine" "$target" "zig $($zig version)" "$result"
}

# ---- The others ----

try() # the machine
{
    machine=$1 build=build/platforms/$1
    case $machine in
    windows) try_zig x86_64-windows-gnu 'wine64 /usr/lib/wine/wine64' && return ;;
    macos-arm) try_zig aarch64-macos && return ;;
    macos-x86) try_zig x86_64-macos && return ;;
    esac
    describe "$machine"
    if ! command -v "$compiler" >/dev/null || { [ -n "$emulator" ] && ! command -v "$emulator" >/dev/null; }; then
        echo "skip  $machine: not installed (apt-get install $packages)"
        return
    fi
    mkdir -p "$build"
    make "$here/lm" >/dev/null
    make CC="$compiler" CFLAGS="$options" openmp=0 check=standin build="$build" werror=1 "$build/examples/lm" \
        "$build/examples/gradcheck" "$build/tests/check" >"$build/log" 2>&1 || failed_step 'does not build'
    # shellcheck disable=SC2086
    run "$build/tests/check" $([ -z "$emulator" ] || echo "$suites") >"$build/log" 2>&1 || failed_step 'suites'
    checks=$(sed -n 's/^100%: Checks: \([0-9]*\), Failures: 0, Errors: 0$/\1/p' "$build/log")
    [ -n "$checks" ] || failed_step 'no summary of the suites'
    run "$build/examples/gradcheck" linear >"$build/log" 2>&1 || failed_step gradcheck
    losses_agree || failed_step 'a model that was trained there and read here'
    printf 'ok    %-9s %-22s %-34s %5d checks, gradcheck, lm%s\n' "$machine" "$about" \
        "$("$compiler" --version | sed -n '1s/ (.*) / /p')" "$checks" "${emulator:+ ($emulator)}"
}

for machine in "$@"; do
    try "$machine"
done
