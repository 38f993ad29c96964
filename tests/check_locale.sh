#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_locale.sh BUILD [SUITE...] - the numbers that the library and the programs write and read are the same in every
# locale; runs in the project's root.
#
# Makes two locales whose decimal point is no point: a comma, and a character of two bytes. Runs the suites of BUILD's
# check program in each (none named: those that write or read numbers; `all`: every suite in the first), and programs
# with a library before them that calls setlocale: their output must be that of the "C" locale. Says so and ends where
# localedef or its sources are missing.
set -eu

build=$1
shift
usual='number print report report_json profile_print attention_trace pretrained checkpoint safetensors graph anomaly
    mask sampling'
suites=${*:-$usual}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
unset LC_ALL LC_NUMERIC LANG
export OMP_NUM_THREADS=1
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}verify_asan_link_order=0" # begin.so comes before its runtime

make_locale() # name, its decimal point
{
    localedef -i "$1" -f UTF-8 "$folder/$1.UTF-8" >"$folder/log" 2>&1 || true # it warns, with status 1
    [ "$(LOCPATH=$folder LC_ALL=$1.UTF-8 locale decimal_point 2>"$folder/log")" = "$2" ]
}

make_locale de_DE ',' && make_locale ps_AF '٫' || {
    echo 'check_locale.sh: no localedef, or no de_DE and ps_AF for it: skipped'
    exit 0
}

fault()
{
    echo "check_locale.sh: $*" >&2
    exit 1
}

echo '#include <locale.h>
__attribute__((constructor)) static void begin(void) { setlocale(LC_ALL, ""); }' >"$folder/begin.c"
${CC:-cc} -shared -fPIC "$folder/begin.c" -o "$folder/begin.so"

numbers() # what programs write: text, CSV, JSON, HTML, SVG
{
    rm -rf "$folder/out"
    mkdir "$folder/out"
    "$build/examples/head_attention" --svg "$folder/out/head"
    "$build/examples/attention_gradients" --svg "$folder/out/gradients" --json "$folder/out/trace.json"
    "$build/examples/gradcheck" softmax mha
    "$build/examples/gradcheck" --json --html "$folder/out/report.html" layer_norm
    "$build/examples/gradcheck" --curve --out "$folder/out/curve.svg" softmax
    "$build/examples/lm" train --steps 2 --report 1 --sample 0 --batch 2 --emb 16 --layers 1 --context 8 --dropout 0.1 \
        --lr 1.5e-3 --out "$folder/out/lm"
    "$build/examples/lm" sample --model "$folder/out/lm/last.safetensors" --tokens 20 --temperature 0.75 --top-p 0.9
    cut -d, -f1-5 "$folder/out/lm/log.csv"
    cat "$folder/out"/*.svg "$folder/out"/*.html "$folder/out"/*.json "$folder/out/lm/last.safetensors"
}

numbers >"$folder/want" 2>/dev/null || fault 'a program fails'
for name in de_DE ps_AF; do
    LOCPATH=$folder LC_ALL=$name.UTF-8 LD_PRELOAD=$folder/begin.so
    export LOCPATH LC_ALL LD_PRELOAD
    numbers >"$folder/got" 2>/dev/null || fault "$name: a program fails"
    unset LD_PRELOAD
    cmp "$folder/want" "$folder/got" || fault "$name: a program writes other numbers"
    # Unquoted: words, or none.
    # shellcheck disable=SC2086
    "$build/tests/check" ${suites#all}
    [ "$suites" != all ] || suites=$usual
done
echo 'locale: numbers have a point in every locale'
