#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_kinds.sh PROGRAM - every kind of model of `lm`: each option trains, goes on from a checkpoint without being
#     said again, and samples; a file says which kind its model is.
set -eu
. tests/examples/lm_checks.sh

some() { # folder, then options
    out=$1
    shift
    train "$out" "$folder/some.txt" --steps 8 --schedule constant --positions learned --norm layer --ff gelu \
        --no-qk-norm "$@"
}
kind() { # what the run's introduction says of the model
    grep -qF "kind      $2" "$folder/$1.err" || { grep '^kind' "$folder/$1.err"; return 1; }
}
beyond() { # the model of this folder writes on beyond the context of 32 that it was trained with
    [ "$("$lm" sample --model "$folder/$1" --prompt 'I' --tokens 80 --temperature 0 | wc -c)" -ge 82 ]
}
some plain
check "the plain kind" kind plain 'learned positions, layer norm, gelu feed-forward'

# Its file.
rename() { # sed's program: the plain model's file, changed without changing its length
    LC_ALL=C sed "$1" "$folder/plain/best.safetensors" >"$folder/renamed.safetensors"
}
rename 's/"lm\.\(window\|kv_heads\|qk_norm\|positions\|norm\|feed_forward\)"/"xx.\1"/g'
writes() { "$lm" sample --model "$1" --tokens 60 --temperature 0; }
check "a file of before there were kinds loads" [ "$(writes "$folder/renamed.safetensors")" = \
    "$(writes "$folder/plain")" ]
rename 's/"lm.norm":"layer"/"lm.norm":"lever"/'
check "a kind that is not known" refused 1 'its metadata does not describe one' sample \
    --model "$folder/renamed.safetensors"
rename 's/"lm.layers":"2"/"lm.layers":"9"/'
check "a number of layers that the file has not" refused 1 'are not those of its tensors' sample \
    --model "$folder/renamed.safetensors"
rename 's/"lm.emb":"32"/"lm.emb":"96"/'
check "an embedding that is larger than the file" refused 1 'are not those of its tensors' sample \
    --model "$folder/renamed.safetensors"

# Other kinds.
for options in '--positions sinusoidal' '--positions rotary' '--positions alibi' '--positions none' '--norm rms' \
    '--ff relu' '--ff silu' '--ff swiglu' '--ff geglu' '--ff-size 24' '--window 4' '--kv-heads 1' --qk-norm; do
    # shellcheck disable=SC2086
    some one-kind $options
    check "$options is another model" other_losses plain one-kind
done
resumes() { # what it says of itself, then options
    says=$1
    shift
    some kind "$@"
    some kind-half "$@" --steps 4
    "$lm" train --continue "$folder/kind-half" --steps 8 >/dev/null 2>"$folder/kind-half.err"
    check "$*: a resumed run ends with the same model" same_model kind kind-half
    check "and knows its kind" kind kind-half "$says"
    check "and writes on beyond its context" beyond kind
}
resumes 'sinusoidal positions, layer norm, relu feed-forward, window 5' --positions sinusoidal --ff relu --window 5
resumes 'rotary positions, rms norm, swiglu feed-forward, 1 key head, query and key norm' \
    --positions rotary --norm rms --ff swiglu --ff-size 40 --kv-heads 1 --qk-norm
resumes 'alibi positions, layer norm, silu feed-forward, 2 key heads' --positions alibi --ff silu --kv-heads 2
resumes 'no positions, rms norm, geglu feed-forward, window 7' --positions none --norm rms --ff geglu --window 7
resumes 'learned positions, layer norm, gelu feed-forward' # the window that it sees moves on
exit $failed
