#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh BUILD - the benchmarks: attention's memory, generation with the cache, then a training step of each model,
# beside PyTorch when python3 has it. BUILD holds the programs. Options after BUILD go to run.py.
set -eu

build=$1
shift
failed=0
"$build/bench_attention_memory" || failed=1
"$build/bench_generate" || failed=1
echo
if ! command -v python3 >/dev/null 2>&1; then
    missing='python3 is not installed'
elif ! python3 -c 'import torch' >/dev/null 2>&1; then
    missing='python3 has no torch (pip install torch)'
else
    python3 "$(dirname "$0")/run.py" "$build" "$@"
    exit $failed
fi
echo "No comparison with PyTorch: $missing. attngrad alone:"
echo
"$build/bench_step"
exit $failed
