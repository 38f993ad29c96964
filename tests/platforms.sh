#!/bin/sh
# SPDX-License-Identifier: MIT
#
# platforms.sh SUITES [MACHINE...] - the library, all programs and the suites, built by the cross compilers that are
#     installed, and run: all suites on this processor (32 bits; musl; Windows, by Wine), SUITES by qemu on the others.
#     For Windows and macOS the compiler is zig (PyPI's ziglang); nothing here runs its programs for macOS. A model that
#     `lm` trains there is read here, and must have the same loss. Prints a table of what was built and what ran; a
#     machine whose compiler or emulator is missing has a line that says so. From the project's root; builds are in
#     build/platforms.
set -eu
unset MAKEFLAGS MAKELEVEL MFLAGS # its own make is not part of the one that runs it, and takes all cores

suites=$1
shift
[ $# -gt 0 ] || set -- i686 musl aarch64 riscv64 s390x windows macos-arm macos-x86
here=build/release-gcc/examples
export OMP_NUM_THREADS=1

zig='zig'
command -v zig >/dev/null || zig="${PYTHON:-python3} -m ziglang"

# Zig for this target, as a compiler that takes gcc's names of instruction sets. A comparison of a constant of an enum
# with a floating-point number is meant.
zig_compiler() # target
{
    mkdir -p "$build"
    cat >"$build/cc" <<END
#!/bin/sh
for word; do
    shift
    case \$word in -march=x86-64-v?) word=-mcpu=x86_64_v\${word#-march=x86-64-v} ;; esac
    set -- "\$@" "\$word"
done
exec $zig cc -target $1 "\$@"
END
    chmod +x "$build/cc"
    compiler=$build/cc archiver="$zig ar" packages='pip install ziglang' options='-g0 -Wno-enum-float-conversion'
}

# Of the machine: compiler, archiver, options, what is linked besides; what runs its programs ('none': nothing; '': the
# processor), whether by emulation; how to install these, a word about it.
describe() # machine
{
    runner='' emulated='' about='little-endian, 64 bits' options=-g archiver=ar linked=''
    case $1 in
    i686) # not by x87, whose wider numbers the suites' constants would have
        compiler=i686-linux-gnu-gcc packages='apt-get install gcc-i686-linux-gnu libc6-i386' about='32 bits, SSE2'
        options='-g -msse2 -mfpmath=sse'
        ;;
    musl) compiler=musl-gcc packages='apt-get install musl-tools' about='musl' ;;
    windows)
        zig_compiler x86_64-windows-gnu
        about='x86-64' runner=none linked=examples/shared/utf8.manifest
        for wine in wine64 /usr/lib/wine/wine64; do
            ! command -v "$wine" >/dev/null || runner="env WINEDEBUG=-all WINEPREFIX=$PWD/$build/wine $wine"
        done
        ;;
    macos-arm) zig_compiler aarch64-macos && runner=none ;;
    macos-x86) zig_compiler x86_64-macos && runner=none ;;
    *)
        compiler=$1-linux-gnu-gcc emulated=qemu-$1 runner="qemu-$1 -L /usr/$1-linux-gnu"
        packages="apt-get install gcc-$1-linux-gnu qemu-user"
        [ "$1" != s390x ] || about='big-endian'
        ;;
    esac
}

run() # a program of the machine, its arguments
{
    # Unquoted: words, if any.
    # shellcheck disable=SC2086
    $runner "$@"
}

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

run_all() # the suites, gradcheck and lm; prints what ran
{
    # Unquoted: words.
    # shellcheck disable=SC2046
    run "$build/tests/check" $([ -z "$emulated" ] || echo "$suites") >"$build/log" 2>&1 || failed_step 'suites'
    checks=$(tr -d '\r' <"$build/log" | sed -n 's/^100%: Checks: \([0-9]*\), Failures: 0, Errors: 0$/\1/p')
    [ -n "$checks" ] || failed_step 'no summary of the suites'
    run "$build/examples/gradcheck" linear >"$build/log" 2>&1 || failed_step gradcheck
    losses_agree || failed_step 'a model that was trained there and read here'
    run "$build/examples/lm" sample --model "$build/run" --prompt 'é' --tokens 4 >"$build/log" 2>&1 ||
        failed_step 'a prompt that is not ASCII'
    echo "$checks checks, gradcheck, lm"
}

try() # the machine
{
    machine=$1 build=build/platforms/$1
    describe "$machine"
    if ! "$compiler" --version >/dev/null 2>&1 || { [ -n "$emulated" ] && ! command -v "$emulated" >/dev/null; }; then
        echo "skip  $machine: not installed ($packages)"
        return
    fi
    mkdir -p "$build"
    make "$here/lm" >/dev/null
    wanted=examples
    [ "$runner" = none ] || wanted="examples $build/tests/check"
    # Unquoted: words.
    # shellcheck disable=SC2086
    make CC="$compiler" AR="$archiver" CFLAGS="$options" LDFLAGS="$linked" openmp=0 check=standin build="$build" \
        werror=1 $wanted >"$build/log" 2>&1 || failed_step 'does not build'
    result='built, not run'
    [ "$runner" = none ] || result=$(run_all) || { echo "$result"; exit 1; }
    printf 'ok    %-9s %-22s %-34s %s\n' "$machine" "$about" \
        "$("$compiler" --version | sed -n '1{s/ (.*)//;p;}')" "$result"
}

for machine in "$@"; do
    try "$machine"
done
