#!/bin/sh
# SPDX-License-Identifier: MIT
#
# seeds.sh FOLDER LM - writes the files that the fuzz targets begin with to FOLDER/<target>/, from tests/fixtures and by
# the program LM.
set -eu

out=$1 lm=$2 fixtures=tests/fixtures
for target in safetensors json pretrained checkpoint lm_model options tokens; do
    mkdir -p "$out/$target"
done
for model in gpt2 llama llama3 bert; do
    folder=$fixtures/pretrained/$model
    cp $folder/config.json "$out/json/$model"
    size=$(wc -c <$folder/config.json)
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o\\%03o' $((size % 256)) $((size / 256)))" >"$out/pretrained/$model"
    cat $folder/config.json $folder/model.safetensors >>"$out/pretrained/$model"
    { printf '\001'; cat $folder/model.safetensors; } >"$out/safetensors/$model"
done
i=0
while [ $i -lt 40 ]; do echo 'a line'; i=$((i + 1)); done >"$out/text"
for options in '--positions learned' '--positions rotary --norm rms --ff swiglu --kv-heads 1' \
    '--level byte --window 3'; do
    # shellcheck disable=SC2086
    "$lm" train "$out/text" --out "$out/run" --steps 2 --batch 2 --context 4 --layers 1 --heads 2 --emb 4 \
        --sample 0 $options >/dev/null 2>&1
    cp "$out/run/model.safetensors" "$out/lm_model/$(echo "$options" | tr -d ' ')"
    cp "$out/run/model.safetensors" "$out/checkpoint/$(echo "$options" | tr -d ' ')"
done
printf -- '--flag\n--number=5\n--real\n1e-3\n--text\na\n--prose=\n--maybe\nword' >"$out/options/all"
printf '1 2 3\n4,5\r\n6\t7' >"$out/tokens/lines"
