#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_package.sh FOLDER [PYTHON] - what `lm export` writes, against the tokenizers and transformers packages, where
# PYTHON (python3) has them. FOLDER holds the built programs. Run from the project's root.
set -eu

lm=$1/lm generate=$1/generate python=${2:-${PYTHON:-python3}}
if ! "$python" -c 'import tokenizers, torch, transformers' 2>/dev/null; then
    echo 'skip  package: no tokenizers, torch and transformers packages'
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
head -c 100000 examples/data/pride_and_prejudice.txt >"$folder/text.txt"
failed=0
export_one() { # name, then options of lm train
    name=$1
    shift
    if "$lm" train "$folder/text.txt" --steps 30 --batch 8 --context 32 --layers 2 --heads 2 --emb 32 --sample 0 \
        --warmup 5 --report 30 --threads 1 --out "$folder/$name" "$@" >"$folder/log" 2>&1 &&
        "$lm" export --model "$folder/$name" --out "$folder/$name/export" >"$folder/log" 2>&1 &&
        "$python" tests/examples/check_package.py "$lm" "$generate" "$folder/$name" "$folder/text.txt"; then
        echo "ok    package: $name"
    else
        cat "$folder/log"
        echo "FAIL  package: $name"
        failed=1
    fi
}
export_one qwen3-characters --level char
export_one qwen3-pairs --vocab 500
export_one llama-bytes --no-qk-norm --kv-heads 1 --level byte
export_one mistral-characters --no-qk-norm --window 9 --ff geglu --level char
export_one gpt2-pairs --no-qk-norm --positions learned --norm layer --ff relu --context 256 --batch 2 --vocab 400
exit $failed
