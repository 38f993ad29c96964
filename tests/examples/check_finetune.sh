#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_finetune.sh FOLDER [PYTHON] - `finetune` on models that `lm export` writes: it learns, keeps the names of the
# tensors, and says mistakes in one line; then against the transformers package, where PYTHON (python3) has it
# (check_finetune.py). FOLDER holds the built programs. Run from the project's root.
set -eu

lm=$1/lm finetune=$1/finetune generate=$1/generate logits=$1/../tests/logits python=${2:-${PYTHON:-python3}}
for program in "$lm" "$finetune" "$generate" "$logits"; do
    [ -x "$program" ] || { echo "FAIL  finetune: there is no program $program"; exit 1; }
done
subject=finetune
. tests/examples/checks.sh

head -c 40000 examples/data/pride_and_prejudice.txt >"$folder/first.txt"
tail -c 40000 examples/data/pride_and_prejudice.txt | tail -n +2 >"$folder/second.txt"
export_model() { # name, then options of lm train
    which=$1
    shift
    "$lm" train "$folder/first.txt" --steps 20 --batch 4 --context 32 --layers 2 --heads 2 --emb 32 --sample 0 \
        --level byte --warmup 5 --report 20 --out "$folder/run-$which" "$@" >/dev/null 2>&1 &&
        "$lm" export --model "$folder/run-$which" --out "$folder/$which" >/dev/null 2>&1
}
tune() { # name, then options
    which=$1
    shift
    rm -rf "$folder/$which-tuned"
    "$finetune" "$folder/second.txt" --model "$folder/$which" --out "$folder/$which-tuned" --steps 30 --context 32 \
        --lr 1e-3 "$@" >"$folder/output" 2>"$folder/message"
}
learned() { # the loss is lower than before
    awk '/validation loss/ { good = $4 + 0 < $8 - 0.05 } END { exit !good }' "$folder/message"
}
names() { # of the tensors
    head -c 20000 "$folder/$1/model.safetensors" | tr '{' '\n' | grep -ao '"[a-z0-9_.]*":$' | sort
}
quiet() { "$@" >"$folder/message" 2>&1; }
same_names() { [ -n "$(names "$1")" ] && [ "$(names "$1")" = "$(names "$2")" ]; }
refused() { # status, text, then arguments
    status=$1 text=$2 got=0
    shift 2
    "$finetune" "$@" >"$folder/output" 2>"$folder/message" || got=$?
    [ "$got" -eq "$status" ] && says "$text" && [ "$(wc -l <"$folder/message")" -eq 1 ]
}

for kind in qwen3 gpt2; do
    case $kind in
    qwen3) check "qwen3: a model to begin with" export_model qwen3 ;;
    gpt2) check "gpt2: a model to begin with" export_model gpt2 --positions learned --norm layer --ff gelu \
        --no-qk-norm ;;
    esac
    sed 's/"dtype": "float32"/"dtype": "bfloat16"/' "$folder/$kind/config.json" >"$folder/config.json"
    mv "$folder/config.json" "$folder/$kind/config.json"
    check "$kind: trained further" tune $kind
    check "$kind: the loss falls" learned
    check "$kind: the names stay" same_names $kind $kind-tuned
    check "$kind: the tokenizer's file comes along" cmp "$folder/$kind/tokenizer.json" \
        "$folder/$kind-tuned/tokenizer.json"
    check "$kind: and the configuration, for float32" sh -c "sed s/bfloat16/float32/ $folder/$kind/config.json |
        cmp - $folder/$kind-tuned/config.json"
    check "$kind: generate reads it" quiet "$generate" --model "$folder/$kind-tuned" --prompt 'It is' --length 3
    mv "$folder/$kind-tuned" "$folder/$kind-again"
    tune $kind --threads 2
    check "$kind: the same bytes again" cmp "$folder/$kind-tuned/model.safetensors" \
        "$folder/$kind-again/model.safetensors"
done

# ---- Stopped ----

"$finetune" "$folder/second.txt" --model "$folder/gpt2" --out "$folder/stopped" --steps 1000000 --context 32 \
    >/dev/null 2>"$folder/message" &
process=$!
while kill -0 $process 2>/dev/null && ! grep -q 'parameters' "$folder/message"; do sleep 0.05; done
sleep 0.3
kill -TERM $process
wait $process && ended=0 || ended=$?
check "SIGTERM ends the training" [ $ended -eq 0 ]
check "and the model is written" [ -s "$folder/stopped/model.safetensors" ]
check "as it says" says 'the model as it was when the training was stopped'

# ---- Killed ----

settings="--model $folder/gpt2 --steps 300 --context 32 --checkpoint 0"
long() { # folder, then options
    out=$1
    shift
    "$finetune" "$folder/second.txt" $settings --out "$folder/$out" "$@" >"$folder/output" 2>"$folder/message"
}
check "a long training" long whole
"$finetune" "$folder/second.txt" $settings --out "$folder/killed" >/dev/null 2>&1 &
process=$!
while kill -0 $process 2>/dev/null && [ ! -s "$folder/killed/checkpoint.safetensors" ]; do sleep 0.02; done
kill -KILL $process
wait $process 2>/dev/null || :
check "kill -9 leaves a checkpoint and no model" [ ! -e "$folder/killed/model.safetensors" ]
! long killed --lr 1e-3
check "another training does not go on from it" says 'is of another training'
check "the same command goes on" long killed
check "as it says" says 'goes on after step'
check "to the same bytes" cmp "$folder/whole/model.safetensors" "$folder/killed/model.safetensors"
check "and the checkpoint is gone" [ ! -e "$folder/killed/checkpoint.safetensors" ]

# ---- Mistakes ----

second=$folder/second.txt
head -c 30 "$second" >"$folder/short.txt"
printf 'a\377b' >"$folder/latin1.txt"
: >"$folder/empty.txt"
cp -r "$folder/gpt2" "$folder/copy"
cp -r "$folder/gpt2" "$folder/untokenized"
rm "$folder/untokenized/tokenizer.json"
mkdir "$folder/mixed" "$folder/bert"
cp tests/fixtures/pretrained/bert/* "$folder/bert"
cp tests/fixtures/tokenizers/bert.json "$folder/bert/tokenizer.json"
cp "$folder/gpt2/config.json" "$folder/gpt2/model.safetensors" "$folder/mixed"
cp tests/fixtures/tokenizers/llama3.json "$folder/mixed/tokenizer.json"
printf '\360\237\230\200 \344\270\255 and a longer text of several words, so that there is something to train on\n' \
    >"$folder/wide.txt"
model="--model $folder/gpt2" new="--out $folder/new"
check "no text" refused 2 'on which text?' $model $new
check "no folder to write to" refused 2 'where to? --out DIR' "$second" $model
check "no model" refused 2 'which model? --model DIR' "$second" $new
check "no learning rate" refused 2 '--lr is 0, must be above 0' "$second" $model $new --lr 0
check "no steps" refused 2 '--steps is 0, must be 1 to 2147483647' "$second" $model $new --steps 0
check "a text that is missing" refused 1 "gone.txt: No such file" "$folder/gone.txt" $model $new
check "the model's own folder" refused 1 "is the model's own folder" "$second" $model --out "$folder/copy/../gpt2"
check "a folder with a model" refused 1 'holds a model, which is not overwritten' "$second" $model --out "$folder/copy"
check "a context that the model has not" refused 1 '--context 33: the model reads at most 32 tokens' "$second" $model \
    $new --context 33
check "a text too short for the context" refused 1 'a context of 32 needs 33: give --context 26 or less' \
    "$folder/short.txt" $model $new --context 32
check "an empty text" refused 1 'too few tokens, 0' "$folder/empty.txt" $model $new --context 32
check "a text that is not UTF-8" refused 1 'latin1.txt: byte 1 is not UTF-8' "$folder/latin1.txt" $model $new
check "an encoder" refused 1 'model_type is bert, must be one of' "$second" --model "$folder/bert" $new
check "a folder without a tokenizer" refused 1 'untokenized/tokenizer.json: No such file' "$second" \
    --model "$folder/untokenized" $new
check "no such model" refused 1 'none: there is no such folder' "$second" --model "$folder/none" $new
check "another model's tokenizer" refused 1 'they do not belong together' "$folder/wide.txt" --model "$folder/mixed" \
    $new --context 8
check "nothing is left of these" [ ! -e "$folder/new" ]

if ! "$python" -c 'import tokenizers, torch, transformers' 2>/dev/null; then
    echo 'skip  finetune: no tokenizers, torch and transformers packages'
elif "$python" tests/examples/check_finetune.py "$finetune" "$generate" "$logits" "$folder/second.txt" \
    "$folder/python" >"$folder/output" 2>"$folder/message"; then
    sed 's/^/ok    finetune: /' "$folder/output"
else
    cat "$folder/output" "$folder/message"
    echo 'FAIL  finetune: the transformers package'
    failed=1
fi
exit $failed
