#!/bin/sh
# SPDX-License-Identifier: MIT
#
# platforms.sh SUITES [MACHINE...] - the library, its programs and suites, built by the cross compilers that are
#     installed and run: all suites on this processor (32 bits; musl), SUITES by qemu on the others. A model that `lm`
#     trains there is read here, and must have the same loss. Prints a table of what was built and what ran; a machine
#     whose compiler or emulator is missing has a line that says so. From the project's root; builds are in
#     build/platforms.
set -eu

suites=$1
shift
[ $# -gt 0 ] || set -- i686 musl aarch64 riscv64 s390x
here=build/release-gcc/examples
export OMP_NUM_THREADS=1

# Of the machine: compiler, emulator (none: the processor runs it), Debian's packages, and a word about it.
describe() # machine
{
    emulator='' about='little-endian, 64 bits' packages=''
    case $1 in
    i686) compiler=i686-linux-gnu-gcc packages='gcc-i686-linux-gnu libc6-i386' about='32 bits, SSE2 or x87' ;;
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

try() # the machine
{
    machine=$1 build=build/platforms/$1
    describe "$machine"
    if ! command -v "$compiler" >/dev/null || { [ -n "$emulator" ] && ! command -v "$emulator" >/dev/null; }; then
        echo "skip  $machine: not installed (apt-get install $packages)"
        return
    fi
    mkdir -p "$build"
    make CC="$compiler" openmp=0 check=standin build="$build" werror=1 all "$build/tests/check" >"$build/log" 2>&1 ||
        failed_step 'does not build'
    # shellcheck disable=SC2086
    run "$build/tests/check" $([ -z "$emulator" ] || echo "$suites") >"$build/log" 2>&1 || failed_step 'suites'
    checks=$(sed -n 's/^100%: Checks: \([0-9]*\), Failures: 0, Errors: 0$/\1/p' "$build/log")
    [ -n "$checks" ] || failed_step 'no summary of the suites'
    run "$build/examples/gradcheck" linear >"$build/log" 2>&1 || failed_step gradcheck
    losses_agree || failed_step 'a model that was trained there and read here'
    printf 'ok    %-8s %-22s %-34s %5d checks, gradcheck, lm%s\n' "$machine" "$about" \
        "$("$compiler" --version | sed -n '1s/ (.*) / /p')" "$checks" "${emulator:+ ($emulator)}"
}

make "$here/lm" >/dev/null
for machine in "$@"; do
    try "$machine"
done
