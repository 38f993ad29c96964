#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_options.sh PROGRAM - what `lm` says before a run: options that are wrong, memory, plans, presets.
set -eu
. tests/examples/lm_checks.sh

check "unknown option" refused 2 "lm train: unknown option '--stpes'; did you mean --steps?" train --stpes 5
check "an option that none resembles" refused 2 "unknown option '--frobnicate'; try --help" train --frobnicate
check "a flag takes no value" refused 2 '--qk-norm takes no value' train --qk-norm=1
check "a word that resembles one" refused 2 'must be one of: char byte bpe; did you mean char?' train --level chars
check "a word that is no number" refused 2 "--steps is 'many'" train --steps many
check "top-p of nothing" refused 2 'lm sample: --top-p is 0, must be above 0 and at most 1' sample --top-p 0
check "top-p above 1" refused 2 'lm sample: --top-p is 1.01, must be above 0 and at most 1' sample --top-p 1.01
check "a momentum that grows for ever" refused 1 'lm train: --momentum is 1, must be at least 0 and below 1' train \
    --optimizer sgd --momentum 1 --steps 1 --out "$folder/none"
check "zero steps" refused 2 'lm train: --steps is 0, must be 1 to 1000000000' train --steps 0
check "more threads than a machine bears" refused 1 'lm train: --threads is 257, must be at most 256' \
    train --threads 257 --out "$folder/none"
check "a step so long that nothing is finite" refused 1 'lm: found: ' train --batch 4 --context 32 --layers 2 --emb 32 \
    --steps 50 --optimizer sgd --lr 1e30 --clip 0 --warmup 0 --out "$folder/infinite"
check "says what to change" says 'to change: give --clip 1; lower --lr ('
check "no such optimizer" refused 2 "--optimizer is 'adam', must be one of: adamw sgd" train --optimizer adam
check "no such text" refused 1 'no-such-file.txt' train no-such-file.txt --out "$folder/none"
check "heads that do not divide" refused 1 'lm train: --heads 4: must divide --emb 30: 1, 2, 3, 5, 6, 10, 15, 30' \
    train --emb 30 --heads 4 --out "$folder/none"
check "kv-heads that do not divide" refused 1 'lm train: --kv-heads 3: must divide --heads 4: 1, 2, 4' \
    train --kv-heads 3 --heads 4 --out "$folder/none"
check "rotary heads of an odd size" refused 1 '--heads 4: heads of 9 channels, rotary positions need an even' \
    train --positions rotary --emb 36 --heads 4 --out "$folder/none"
check "heads and a time" refused 1 'lm train: --heads 5: must divide --emb 36: 1, 2, 3, 4, 6, 9, 12, 18, 36' \
    train --minutes 1 --emb 36 --heads 5 --out "$folder/none"
check "an odd width and a time" refused 1 'lm train: --emb 37: rotary positions need an even number' \
    train --emb 37 --minutes 0.1 --out "$folder/none"
check "a dropout of all" refused 1 'lm train: --dropout is 1, must be at least 0 and below 1' train --dropout 1
check "no learning rate" refused 1 'lm train: --lr is 0, must be above 0' train --lr 0
check "no such positions" refused 2 "--positions is 'rope', must be one of: learned sinusoidal rotary alibi none" \
    train --positions rope
check "no such norm" refused 2 "--norm is 'batch', must be one of: layer rms" train --norm batch
check "no such feed-forward" refused 2 "--ff is 'tanh', must be one of: gelu relu silu swiglu geglu" train --ff tanh
check "a number of tokens for characters" refused 2 \
    'lm train: --vocab 300 is for --level bpe, and --level is char' train --vocab 300 --level char
head -c 100000 examples/data/pride_and_prejudice.txt >"$folder/pairs.txt"
head -c 99999 "$folder/pairs.txt" >"$folder/chars.txt"
check "a text of 100 kB has byte pairs" introduces_small 'pairs.txt: 3[0-9]* tokens' "$folder/pairs.txt"
check "a smaller one characters" introduces_small 'chars.txt: 99999 characters' "$folder/chars.txt"
check "unless pairs are asked for" introduces_small 'chars.txt: [34][0-9]* tokens' "$folder/chars.txt" --vocab 600
printf '{"level": "bpe", "vocab": 600}' >"$folder/pairs.json"
check "--level goes over a config's pairs" introduces_small 'pairs.txt: 100000 bytes' "$folder/pairs.txt" \
    --config "$folder/pairs.json" --level byte
printf '{"level": "char"}' >"$folder/chars.json"
check "and --vocab over its characters" introduces_small 'vocab     600' "$folder/pairs.txt" \
    --config "$folder/chars.json" --vocab 600
check "what a trained model has is its own" refused 2 \
    'lm finetune: --emb is as in the model that the run begins with; leave it out' finetune --emb 64
check "also its tokens" refused 2 'lm train: --vocab is as in the model' train --from "$folder" --vocab 600

# Before a run: a model that does not fit, a plan, presets.
check "a model that does not fit" refused 1 'GB are free: lower --batch, --context, --emb or --layers' \
    train "$folder/some.txt" --emb 1000000 --heads 8 --layers 1000 --out "$folder/none"
check "fewer steps than the warm-up" refused 1 '--steps 9 ends within the warm-up; give --warmup 0' \
    train "$folder/some.txt" --steps 9 --warmup 9 --out "$folder/none"
check "a text whose name begins with dashes" refused 1 'lm: --seed: No such file' train -- --seed
check "minutes and steps" refused 2 'lm train: --minutes chooses the steps; give it or --steps' \
    train --minutes 1 --steps 5
check "a plan" quiet "$lm" train "$folder/some.txt" --preset toy --dry-run --out "$folder/none"
check "which says the time" grep -q '^time      about [0-9]* s: 2000 steps of ' "$folder/message"
check "and the memory" grep -q '^memory    about [0-9.]* GB of [0-9.]* GB that are free' "$folder/message"
check "and makes no folder" [ ! -e "$folder/none" ]
preset() { # name, the introduction's text
    introduces "$2" "$folder/some.txt" --preset "$1" --batch 1 --context 8
}
check "toy" preset toy '2 layers, 2 heads of 32, embedding 64'
check "tiny" preset tiny '4 layers, 3 heads of 32, embedding 96'
check "small" preset small '6 layers, 6 heads of 32, embedding 192'
check "baby" preset baby '6 layers, 6 heads of 64, embedding 384'
check "nanogpt-cpu" preset nanogpt-cpu 'rotary positions, rms norm, swiglu feed-forward, 1 key head, query and key norm'
check "of its size" says '4 layers, 4 heads of 32, embedding 128'
check "nanogpt-cpu-published" preset nanogpt-cpu-published 'learned positions, layer norm, gelu feed-forward'
check "no such preset" refused 2 'nanogpt-cpu nanogpt-cpu-published; did you mean tiny?' train --preset tinny
exit $failed
