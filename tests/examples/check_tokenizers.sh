#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_tokenizers.sh CHECK [PYTHON [COUNT [TOKENIZER.json...]]] - `make check-tokenizers`: the ids and texts of the
# tokenizers package for COUNT (2000) fuzzed strings and the bundled novel, with a tokenizer of every kind or with those
# given, where PYTHON (python3) has the package. CHECK is the tests' program. Run from the project's root.
set -eu

check=$1 python=${2:-${PYTHON:-python3}} count=${3:-2000}
shift "$(($# < 3 ? $# : 3))"
if ! "$python" -c 'import tokenizers' 2>/dev/null; then
    echo 'skip  tokenizers: no tokenizers package'
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" tests/examples/check_tokenizers.py "$folder" "$count" "$@"
AG_TOKENIZERS=$folder "$check" tokenizer
echo "ok    tokenizers: $(tr '\n' ' ' <"$folder/names")"
