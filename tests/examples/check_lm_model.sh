#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_model.sh PROGRAM - what `lm` does with a trained model: sample, eval, inspect, tokenize, export, report.html.
# Run from the project's root.
set -eu

lm=$1
[ -x "$lm" ] || { echo "FAIL  lm: there is no program $lm"; exit 1; }
subject=lm
. tests/examples/checks.sh
refused() { # status, text, then arguments
    status=$1 text=$2
    shift 2
    got=0
    "$lm" "$@" >"$folder/message" 2>&1 </dev/null || got=$?
    [ "$got" -eq "$status" ] && says "$text" && [ "$(wc -l <"$folder/message")" -eq 1 ]
}
prints() { # text, then arguments
    text=$1
    shift
    "$lm" "$@" >"$folder/message" 2>&1 </dev/null && says "$text"
}
lines() { [ "$("$lm" "$@" 2>/dev/null | wc -l)" -eq "$n" ]; }

head -c 40000 examples/data/pride_and_prejudice.txt >"$folder/text.txt"
train() { # folder, then options
    out=$1
    shift
    "$lm" train "$folder/text.txt" --batch 8 --context 32 --layers 2 --heads 2 --emb 32 --steps 40 --report 10 \
        --warmup 5 --sample 20 --out "$folder/$out" "$@" >"$folder/$out.txt" 2>"$folder/message" ||
        cat "$folder/message"
}
train chars
train pairs --vocab 320
train gpt --positions sinusoidal
model=$folder/chars

# ---- sample ----
sample() { "$lm" sample --model "$model" --tokens 40 --prompt 'I am ' "$@"; }
check "three samples, with a line between" [ "$(sample --samples 3 --stop '
' | grep -c '^---$')" -eq 2 ]
check "which differ" [ "$(sample --samples 2 | sed '/^---$/,$d')" != "$(sample --samples 2 | sed '1,/^---$/d')" ]
whole=$(sample --temperature 0)
stop=$(printf %s "$whole" | cut -c 16-18)
before() { printf %s "$whole" | awk -v stop="$1" '{ print substr($0, 1, 4 + index(substr($0, 6), stop)); exit }'; }
check "a text ends before --stop" [ "$(sample --temperature 0 --stop "$stop")" = "$(before "$stop")" ]
check "a text that only begins as --stop goes on" [ "$(sample --temperature 0 --stop "${stop}XQ")" = "$whole" ]
check "--min-p 1 is the likeliest" [ "$(sample --min-p 1)" = "$whole" ]
check "--min-p 0 is no limit" [ "$(sample --min-p 0)" = "$(sample)" ]
check "--repetition 1 is none" [ "$(sample --repetition 1)" = "$(sample)" ]
check "--repetition 3 repeats less" [ "$(sample --temperature 0 --repetition 3)" != "$whole" ]
check "min-p above 1" refused 2 'lm sample: --min-p is 1.5, must be at most 1' sample --model "$model" --min-p 1.5
check "a repetition that rewards" refused 2 'lm sample: --repetition is 0.5, must be at least 1' sample \
    --model "$model" --repetition 0.5
printf 'I am \n' >"$folder/prompt.txt"
from_file() { "$lm" sample --model "$model" --tokens 40 --temperature 0 --prompt-file "$1"; }
check "a prompt from a file" [ "$(from_file "$folder/prompt.txt")" = "$whole" ]
check "from standard input" [ "$(from_file - <"$folder/prompt.txt")" = "$whole" ]
check "no such prompt" refused 1 'lm sample: nothing.txt: ' sample --model "$model" --prompt-file nothing.txt
{ printf '\357\273\277'; cat "$folder/prompt.txt"; } >"$folder/marked.txt"
printf 'I\000 \000a\000m\000' >"$folder/wide.txt"
pairs() { "$lm" sample --model "$folder/pairs" --tokens 20 --temperature 0 --prompt-file "$1"; }
check "without its byte order mark" [ "$(from_file "$folder/marked.txt")" = "$whole" ]
check "of byte pairs, too" [ "$(pairs "$folder/marked.txt")" = "$(pairs "$folder/prompt.txt")" ]
check "UTF-16 is no prompt" refused 1 'lm: the prompt: looks like UTF-16' sample --model "$folder/pairs" \
    --prompt-file "$folder/wide.txt"
check "nor is a folder" refused 1 "lm sample: $folder: Is a directory" sample --model "$model" --prompt-file "$folder"
check "each line is continued" [ "$(printf 'I am \nI am \n' | "$lm" sample --model "$model" --tokens 40 \
    --temperature 0 --interactive 2>/dev/null)" = "$whole
$whole" ]
check "a line of unknown characters is explained, the next is continued" [ "$(printf 'ё\nI am \n' | "$lm" sample \
    --model "$model" --tokens 40 --temperature 0 --interactive 2>/dev/null)" = "$whole" ]

# ---- finetune ----
mkdir "$folder/away"
finetune() {
    (cd "$folder/away" && "$here/$lm" finetune "$folder/text.txt" --steps 12 --warmup 2 --report 12 --sample 0 "$@")
}
here=$PWD
check "there is nothing to go on with" sh -c '! (cd "$1" && "$0" finetune x.txt) 2>/dev/null' "$here/$lm" "$folder/away"
finetune --from "$folder/chars" >/dev/null 2>"$folder/message"
check "nor a run" refused 1 'there is no run to go on with: ' finetune --continue "$folder/away/none"
check "as finetune says in its own name" prints 'usage: lm finetune ' finetune --help
check "a model goes on with a text" test -s "$folder/away/runs/1/best.safetensors"
check "whose sizes its settings name" grep -q '"ff-size": 88' "$folder/away/runs/1/config.json"
finetune >/dev/null 2>"$folder/message"
check "and the newest run is gone on with" test -s "$folder/away/runs/2/best.safetensors"
val() { tail -n 1 "$1/log.csv" | cut -d, -f3; }
check "and is better each time" awk 'BEGIN { exit !(ARGV[1] > ARGV[2] && ARGV[2] > ARGV[3]) }' \
    "$(val "$folder/chars")" "$(val "$folder/away/runs/1")" "$(val "$folder/away/runs/2")"
finetune --from "$folder/chars" --dropout 0.3 >/dev/null 2>"$folder/message"
check "with a dropout of its own" says 'query and key norm, dropout 0.3'

# ---- eval ----
measure() { "$lm" eval --model "$folder/$1" "$folder/text.txt" | sed -n "$2"; }
check "a text has as many characters as bytes" prints '40000 characters, 40000 bytes' eval --model "$model" \
    "$folder/text.txt"
check "perplexity is of the nats" awk 'BEGIN { d = ARGV[2] / exp(ARGV[1]) - 1; exit !(d * d < 1e-6) }' \
    "$(measure chars '2s/ .*//p')" "$(measure chars '2s/.*perplexity //p')"
check "bits per byte are of the nats" awk 'BEGIN { d = ARGV[1] / log(2) - ARGV[2]; exit !(d * d < 1e-6) }' \
    "$(measure chars '2s/ .*//p')" "$(measure chars '3s/ .*//p')"
check "a token of byte pairs has several bytes" awk 'BEGIN { exit !(ARGV[1] / log(2) > 1.2 * ARGV[2]) }' \
    "$(measure pairs '2s/ .*//p')" "$(measure pairs '3s/ .*//p')"
printf 'abc' >"$folder/abc.txt"
n=6
check "--color in a pipe: a line per token" lines eval --model "$model" --color "$folder/abc.txt"
check "with one thread too" prints '3 characters, 3 bytes' eval --model "$model" --threads 1 "$folder/abc.txt"
check "from standard input" [ "$("$lm" eval --model "$model" <"$folder/abc.txt" | head -n 1)" = \
    '3 characters, 3 bytes' ]
printf 'a' >"$folder/a.txt"
check "a text of one token" refused 1 'the text has 1 token, of which none is predicted' eval --model "$model" \
    "$folder/a.txt"

check "UTF-16 is no text" refused 1 'wide.txt: looks like UTF-16' eval --model "$folder/pairs" "$folder/wide.txt"
tokens_of() { "$lm" eval --model "$folder/pairs" "$1" | head -n 1; }
check "a byte order mark is no part of it" [ "$(tokens_of "$folder/marked.txt")" = "$(tokens_of "$folder/prompt.txt")" ]
cp "$folder/chars/best.safetensors" "$folder/nan.safetensors"
printf '\000\000\300\177' | dd of="$folder/nan.safetensors" bs=1 conv=notrunc 2>"$folder/message" \
    seek=$(($(wc -c <"$folder/nan.safetensors") - 4))
check "weights that are no numbers" refused 1 'lm: the logits after token 1 are not finite' \
    eval --model "$folder/nan.safetensors" "$folder/abc.txt"

# ---- inspect ----
check "parameters" prints 'blocks.1.attn.q.weight              [32,32]       1024' inspect --model "$model"
check "attention of a prompt" prints 'rows: query; columns: key' inspect --model "$model" --prompt 'I am' --layer 1
check "as a picture" prints 'The same as a picture' inspect --model "$model" --prompt 'I am' --svg "$folder/a.svg"
check "which is one" grep -q '</svg>' "$folder/a.svg"
check "a layer that there is not" refused 1 'lm inspect: --layer is 2, must be 0 to 1' inspect --model "$model" \
    --prompt 'I am' --layer 2
check "a token is its own neighbour" prints ' 1.0000 ' inspect --model "$model" --token e
check "two tokens have none" refused 1 'lm inspect: --token is of 2 tokens, must be of one' inspect --model "$model" \
    --token ee
n=4
check "a row of logits per token" lines inspect --model "$model" --prompt 'I am' --logits

# ---- tokenize, export ----
for run in chars pairs; do
    "$lm" tokenize --model "$folder/$run" <"$folder/text.txt" >"$folder/ids"
    "$lm" tokenize --model "$folder/$run" --decode <"$folder/ids" >"$folder/again"
    check "$run: a text is the same after its tokens" cmp -s "$folder/again" "$folder/text.txt"
done
printf 'a\0\377\n\r\n\0' >"$folder/any"
"$lm" tokenize --model "$folder/pairs" <"$folder/any" | "$lm" tokenize --model "$folder/pairs" --decode >"$folder/again"
check "so are any bytes" cmp -s "$folder/again" "$folder/any"
check "a line of ids per line" [ "$(printf 'I am\nso\n' | "$lm" tokenize --model "$model" --lines | wc -l)" -eq 2 ]
no_folder() { # options
    ! "$lm" tokenize --model "$model" "$@" <"$folder" 2>"$folder/message" && says 'standard input: Is a directory'
}
check "a folder is no text" no_folder
check "nor ids" no_folder --decode
check "an id that is none" sh -c 'echo 999 | "$0" tokenize --model "$1" --decode 2>&1 | grep -q "999 is no token"' \
    "$lm" "$model"
check "export" prints 'a Qwen3ForCausalLM of the transformers package' export --model "$model" --out "$folder/out"
check "which generate reads" sh -c '[ "$("$1/generate" --model "$2/out" --length 5 --tokens "1 2 3" 2>/dev/null |
    wc -w)" -eq 5 ]' "$lm" "$(dirname "$lm")" "$folder"
exported() { "$lm" export --model "$folder/pairs" --out "$folder/out" >"$folder/message" 2>&1 </dev/null; }
mkdir "$folder/kept"
cp -p "$folder/out/config.json" "$folder/kept/old.json"
mv "$folder/out/model.safetensors" "$folder/kept/weights"
mkdir "$folder/out/model.safetensors"
not_saved() { ! exported && cmp -s "$folder/out/config.json" "$folder/kept/old.json"; }
check "weights that can not be saved leave the old configuration" not_saved
rmdir "$folder/out/model.safetensors"
mv "$folder/kept/weights" "$folder/out/model.safetensors"
mv "$folder/out/tokenizer.json" "$folder/kept"
mkdir "$folder/out/tokenizer.json"
no_config() { ! exported && [ ! -e "$folder/out/config.json" ] && [ ! -e "$folder/out/config.json.tmp" ]; }
check "new weights never stand beside the old configuration" no_config
rmdir "$folder/out/tokenizer.json"
ln -s ../kept/old.json "$folder/out/config.json"
linked() { exported && [ -h "$folder/out/config.json" ] && grep -q '"vocab_size": 320' "$folder/kept/old.json"; }
check "a configuration that is a link is followed" linked
check "what the package has not" refused 1 'lm export: the model has sinusoidal positions, which fits no kind' export \
    --model "$folder/gpt" --out "$folder/none"
"$lm" export --model "$model" --out "$folder/given" 2>"$folder/message"
check "which lm does not read" refused 1 'given/model.safetensors is not a model that `lm train` wrote' sample \
    --model "$folder/given"
check "and says who does" says 'generate runs models of the transformers package'
mkdir "$folder/alone"
cp "$model/best.safetensors" "$folder/alone/model.safetensors"
alone() { "$lm" sample --model "$folder/alone" --tokens 40 --temperature 0 --prompt 'I am '; }
check "a folder with a model alone" [ "$(alone)" = "$whole" ]
check "export to nowhere" refused 2 'lm export: where to? --out DIR' export --model "$model"

# ---- report.html ----
page=$folder/chars/report.html
check "a report under 200 kB" [ "$(wc -c <"$page")" -lt 200000 ]
no_requests() { ! grep -Eq 'https?://|<script|src=|url\(|@import' "$page"; }
check "which asks for nothing" no_requests
for part in Loss 'Samples over time' Attention Surprise Structure Again; do
    check "with $part" grep -q "<h2>$part</h2>" "$page"
done
check "the attention of every head" [ "$(grep -c 'layer [01], head [01]' "$page")" -eq 4 ]
check "and the samples" grep -q 'sample after step 20' "$page"
foreign() { # a folder whose name is not UTF-8
    odd=$(printf 'caf\351<b>')
    "$lm" train "$folder/text.txt" --batch 1 --context 8 --layers 1 --heads 1 --emb 8 --steps 2 --sample 0 \
        --out "$folder/$odd" >/dev/null 2>"$folder/message" || return 1
    LC_ALL=C grep -q "<title>Language model caf$(printf '\357\277\275')&lt;b&gt;</title>" "$folder/$odd/report.html" &&
        ! LC_ALL=C grep -q "$(printf '\351')" "$folder/$odd/report.html"
}
check "a folder's name in another encoding" foreign
exit $failed
