#!/bin/sh
# SPDX-License-Identifier: MIT
#
# wasm_clang.sh - prints the clang that compiles and links a program for wasm32-wasi ($WASM_CC, or clang by its usual
# names), or nothing and status 1. On Debian: clang, lld, wasi-libc and libclang-rt-VERSION-dev-wasm32.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#include <math.h>\nint main(int n, char **text) { (void)text; return exp(n) > 1e300L; }\n' >"$folder/t.c"
for clang in ${WASM_CC:-clang clang-22 clang-21 clang-20 clang-19 clang-18 clang-17 clang-16}; do
    if "$clang" --target=wasm32-wasi -msimd128 "$folder/t.c" -lm -o "$folder/t.wasm" 2>/dev/null; then
        echo "$clang"
        exit 0
    fi
done
exit 1
