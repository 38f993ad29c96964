#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_python.sh - the Python example finds three wrong backwards, and names them as the C functions do. Skipped where
# python3 has no NumPy; the third where it has no torch. Runs in the project's root.
set -eu

printed=$(mktemp)
trap 'rm -f "$printed"' EXIT
failed=0

has()
{
    tr '\n' ' ' <"$printed" | tr -s ' ' | grep -q "$1" || {
        echo "check_python.sh: '$1' is not in what check_backward.py prints" >&2
        failed=1
    }
}

if ! python3 -c 'import numpy' 2>/dev/null; then
    echo 'python example: skipped, python3 has no NumPy'
    exit 0
fi
python3 examples/python/check_backward.py >"$printed" || failed=1
has 'gradcheck softmax: FAIL'
has 'The row-sum term is taken over all rows, not over each'
has 'A factor is left out: input 1 (x1); multiplied by that, analytic is the right gradient'
if python3 -c 'import torch' 2>/dev/null; then
    has 'the term x phi(x) is 2.50663 times the right one, sqrt(2 pi)'
else
    has 'torch is not installed: its example is left out'
fi
[ "$failed" = 0 ] && echo 'python example: ok'
