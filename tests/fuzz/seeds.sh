#!/bin/sh
# SPDX-License-Identifier: MIT
#
# seeds.sh FOLDER LM - writes the files that the fuzz targets begin with to FOLDER/<target>/, from tests/fixtures and by
# the program LM.
set -eu

out=$1 lm=$2 fixtures=tests/fixtures
for target in safetensors json pretrained checkpoint lm_model config options tokens tokenizer text; do
    mkdir -p "$out/$target"
done
for model in gpt2 llama llama3 qwen3 bert; do
    folder=$fixtures/pretrained/$model
    cp $folder/config.json "$out/json/$model"
    size=$(wc -c <$folder/config.json)
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o\\%03o' $((size % 256)) $((size / 256)))" >"$out/pretrained/$model"
    cat $folder/config.json $folder/model.safetensors >>"$out/pretrained/$model"
    { printf '\001'; cat $folder/model.safetensors; } >"$out/safetensors/$model"
done
i=0
while [ $i -lt 40 ]; do echo 'a line'; i=$((i + 1)); done >"$out/lines"
for options in '--positions learned' '--positions rotary --norm rms --ff swiglu --kv-heads 1' \
    '--level byte --window 3' '--vocab 260'; do
    rm -rf "${out:?}/run"
    # shellcheck disable=SC2086
    "$lm" train "$out/lines" --out "$out/run" --steps 2 --batch 2 --context 4 --layers 1 --heads 2 --emb 4 \
        --sample 0 $options >/dev/null 2>&1
    cp "$out/run/last.safetensors" "$out/lm_model/$(echo "$options" | tr -d ' ')"
    cp "$out/run/config.json" "$out/config/$(echo "$options" | tr -d ' ')"
    cp "$out/run/last.safetensors" "$out/checkpoint/$(echo "$options" | tr -d ' ')"
done
# The safetensors target's own form: a byte that is even, and a header for 64 bytes.
{
    printf '\000{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},'
    printf '"b":{"dtype":"BF16","shape":[3],"data_offsets":[16,22]},"c":{"dtype":"I64","shape":[],'
    printf '"data_offsets":[24,32]},"d":{"dtype":"F64","shape":[0,5],"data_offsets":[64,64]}}'
} >"$out/safetensors/header"
printf '{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors"}}' >"$out/json/index"
printf '[1,-0.5e-3,"\\u00e9\\n\\"",true,null,{"a":[{}]}]' >"$out/json/kinds"
printf -- '--flag\n--number=5\n--real\n1e-3\n--text\na\n--prose=\n--maybe\nword' >"$out/options/all"
printf -- 'word\n--\n--flag' >"$out/options/words"
printf -- '--help' >"$out/options/help"
text="I'm 1234 caf\303\251, <s> \344\270\255 \360\237\222\241\n\n e\314\201 the end <x> word!"
for name in $(cat $fixtures/tokenizers/names); do
    # shellcheck disable=SC2059
    { printf "\\$(printf '%03o' "$(printf "$text" | wc -c)")"
        cat "$fixtures/tokenizers/$name.json"
        printf "$text"
    } >"$out/tokenizer/$name"
done
printf '1 2 3\n4,5\r\n6\t7' >"$out/tokens/lines"
printf '\357\273\2771, 2\n\n3' >"$out/tokens/mark"
for kind in 0 1 2; do
    { printf "\\00$kind"
        printf 'a caf\303\251, a caf\303\251 and tea\r\n  for "two" \342\202\254 12345\n'
    } >"$out/text/$kind"
done
