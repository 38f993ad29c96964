#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh BUILD [OPTIONS] - the benchmarks, by run.py with these options; without python3 attngrad's own figures alone.
# BUILD holds the programs.
set -eu

if command -v python3 >/dev/null 2>&1; then
    exec python3 "$(dirname "$0")/run.py" "$@"
fi
build=$1
echo "No comparison with PyTorch: python3 is not installed. attngrad alone:"
"$build/bench_machine"
"$build/bench_step"
"$build/bench_op"
"$build/bench_generate"
"$build/bench_gemm" --threads 1
"$build/bench_gemm" --threads 2
