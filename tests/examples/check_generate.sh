#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_generate.sh FOLDER - what `generate` and `encode` promise, on the models of tests/fixtures/pretrained: the
# tokens that the transformers package generates, with and without cache; sampling; embeddings; errors in one line.
# FOLDER holds the built programs. Run from the project's root.
set -eu

generate=$1/generate encode=$1/encode
for program in "$generate" "$encode"; do
    [ -x "$program" ] || { echo "FAIL  generate: there is no program $program"; exit 1; }
done
models=tests/fixtures/pretrained
subject=generate
. tests/examples/checks.sh
refused() { # status, text, then a command
    status=$1 text=$2
    shift 2
    got=0
    "$@" >/dev/null 2>"$folder/message" </dev/null || got=$?
    [ "$got" -eq "$status" ] && says "$text" && [ "$(wc -l <"$folder/message")" -eq 1 ]
}
refused_full() { # as refused, for output that can not be written
    ! gpt2 --tokens 1 --length 2 >/dev/full 2>"$folder/message" && says 'can not write to stdout'
}
equal() { # two texts
    [ "$1" = "$2" ] || { echo "$1"; echo "is not"; echo "$2"; return 1; }
}

# ---- generate ----

lines() { # model, then options: what follows its prompts
    model=$1
    shift
    "$generate" --model "$models/$model" "$@" <"$models/$model/prompts.txt" 2>"$folder/message"
}
for model in gpt2 llama llama3 qwen3 qwen2 smollm3 gpt_neox phi; do
    want=$(cat "$models/$model/generated.txt")
    check "$model: the tokens of transformers" equal "$(lines $model --length 12)" "$want"
    check "$model: without cache" equal "$(lines $model --length 12 --no-cache)" "$want"
    check "$model: in float64, two threads" equal "$(lines $model --length 12 --dtype float64 --threads 2)" "$want"
    check "$model: top-k 1 is greedy" equal "$(lines $model --length 12 --temperature 2 --top-k 1)" "$want"
    check "$model: so is a tiny top-p" equal "$(lines $model --length 12 --temperature 2 --top-p 1e-9)" "$want"
    while read -r prompt; do # each alone
        "$generate" --model "$models/$model" --length 12 --tokens "$prompt" 2>/dev/null
    done <"$models/$model/prompts.txt" >"$folder/alone"
    check "$model: each prompt alone" cmp -s "$folder/alone" "$models/$model/generated.txt"
done
check "it says how fast it was" says ' tokens/s'
two() { sed -n 2p | wc -w; }
check "the end of a text ends its line" [ "$(lines gpt2 --length 12 | two)" -lt 12 ]
check "unless it shall not" [ "$(lines gpt2 --length 12 --past-end | two)" -eq 12 ]
check "as long as asked for" [ "$(lines gpt2 --length 1 | wc -w)" -eq 3 ]

sampled() { lines llama3 --length 12 --past-end --temperature 1.5 "$@"; }
check "the same seed draws the same tokens" equal "$(sampled --seed 5)" "$(sampled --seed 5)"
check "with the cache or without" equal "$(sampled --dtype float64)" "$(sampled --dtype float64 --no-cache)"
check "another seed draws others" [ "$(sampled --seed 5)" != "$(sampled --seed 6)" ]
check "top-p 1 keeps all" equal "$(sampled --top-p 1)" "$(sampled)"
check "top-p 0.5 does not" [ "$(sampled --top-p 0.5)" != "$(sampled)" ]
check "config and weights apart" equal \
    "$("$generate" --config $models/llama/linear/config.json --weights $models/llama/model.safetensors --tokens '1, 2' \
       --length 3 2>/dev/null | wc -w)" 3

gpt2() { "$generate" --model $models/gpt2 "$@"; }
check "no model" refused 2 'which model?' "$generate" --tokens 1
check "no such model" refused 1 'model nowhere: there is no such folder' "$generate" --model nowhere --tokens 1
check "a file" refused 1 'there is no such folder' "$generate" --model $models/gpt2/config.json --tokens 1
mkdir "$folder/run"
: >"$folder/run/last.safetensors"
check "a model of lm" refused 1 'run is a run of lm; lm export writes ' "$generate" --model "$folder/run" --tokens 1
check "a model of another kind" refused 1 'model_type is bert' "$generate" --model $models/bert --tokens 1
cp $models/gpt2/config.json "$folder"
check "a folder without weights" refused 1 'has neither model.safetensors nor model.safetensors.index.json' \
    "$generate" --model "$folder" --tokens 1
cp $models/gpt2/model.safetensors "$folder/weights"
printf '{"weight_map":{"transformer.wte.weight":"weights"}}' >"$folder/model.safetensors.index.json"
check "weights in shards" equal "$("$generate" --model "$folder" --length 1 --tokens '1 2' 2>/dev/null)" \
    "$("$generate" --model $models/gpt2 --length 1 --tokens '1 2' 2>/dev/null)"
rm "$folder/weights"
check "a shard that is missing" refused 1 'weights, which can not be opened' "$generate" \
    --model "$folder" --tokens 1
check "no tokens" refused 1 'there are no tokens' gpt2
check "a word for a token" refused 1 "line 1: 'one' is not a token id" gpt2 --tokens 'one'
printf '1\0002\n' >"$folder/nul"
nul() { ! gpt2 <"$folder/nul" 2>"$folder/message" && says 'is not a token'; }
check "a NUL between tokens" nul
check "a negative token" refused 1 "line 1: '-1' is not a token id" gpt2 --tokens '5 -1'
check "a token with a sign" refused 1 "line 1: '+5' is not a token id" gpt2 --tokens '+5'
check "a token too large" refused 1 "line 1: '4294967297' is not a token id" gpt2 --tokens 4294967297
check "a token that the model does not have" refused 1 'index 50 at position 1 of [1,2] is not in 0..49' \
    gpt2 --length 2 --tokens '5 50'
check "too long" refused 1 '--length 22 fits' gpt2 --tokens '1 2 3' --length 23
check "just not too long" [ "$(gpt2 --tokens '1 2 3' --length 22 --past-end 2>/dev/null | wc -w)" -eq 22 ]
check "no length" refused 2 "--length is 0, must be 1 to 2147483647" gpt2 --tokens 1 --length 0
check "no dtype" refused 2 "--dtype is 'float16'" gpt2 --tokens 1 --dtype float16
check "a probability above 1" refused 2 '--top-p is 1.5, must be above 0 and at most 1' gpt2 --tokens 1 --top-p 1.5
check "too many threads" refused 1 '--threads is 257, must be at most 256' gpt2 --tokens 1 --threads 257
printf '1 2\n\n3\n' >"$folder/gap"
gap() { ! gpt2 <"$folder/gap" 2>"$folder/message" && says 'line 2 has no tokens'; }
check "an empty line" gap
if [ -w /dev/full ]; then
    check "a full disk" refused_full
fi
helps() { "$1" --help | tr '\n' ' ' | grep -q "$2"; }
check "help" helps "$generate" 'which tokenizer.json makes ids of'

# ---- text, by tokenizers of 50 tokens: a .. z, A .. W and the end of a line, which are the ids 0 .. 49 ----

vocabulary() { # a prefix, the first id, characters
    awk -v prefix="$1" -v id="$2" -v characters="$3" 'BEGIN {
        for (i = 1; i <= length(characters); i++)
            printf ",\"%s%s\":%d", prefix, substr(characters, i, 1), id++
    }'
}
letters=abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW
byte_level='{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}'
printf '{"pre_tokenizer":%s,"decoder":%s,"model":{"type":"BPE","vocab":{"Ċ":49%s},"merges":[]}}' "$byte_level" \
    "$byte_level" "$(vocabulary '' 0 $letters)" >"$folder/letters.json"
sed 's/ByteLevel/Whitespace/' "$folder/letters.json" >"$folder/whitespace.json"
written() { gpt2 --tokenizer "$folder/letters.json" --length 12 "$@"; }
as_ids() { # the ids of letters
    sed 's/./& /g' | awk -v l=$letters '{ for (i = 1; i <= NF; i++) printf "%d ", index(l, $i) - 1; print "" }'
}
as_text() { # lines of ids as texts in which \n is the end of a line
    awk -v l=$letters '{ for (i = 1; i <= NF; i++) printf "%s", $i == 49 ? "\\n" : substr(l, $i + 1, 1); print "" }'
}
printf 'abc\nQ\nhh\n' >"$folder/texts"
as_ids <"$folder/texts" >"$folder/ids"
want=$(gpt2 --length 12 <"$folder/ids" 2>/dev/null | as_text)
check "text: prompts of a batch" equal "$(written --text <"$folder/texts" 2>/dev/null)" "$want"
alone=$(echo "$want" | sed -n 3p)
check "text: a prompt alone" equal "$(written --prompt hh 2>/dev/null)" "$(printf '%b' "$alone")"
stop=$(echo "$alone" | cut -c4-5)
check "text: up to a stop text" equal "$(written --prompt hh --stop "$stop" 2>/dev/null)" \
    "$(echo "$alone" | cut -c1-3)"
check "text: in a batch" equal "$(written --text --stop "$stop" <"$folder/texts" 2>/dev/null | sed -n 3p)" \
    "$(echo "$alone" | cut -c1-3)"
check "text: a stop text that does not come" equal "$(written --prompt hh --stop "$stop!" 2>/dev/null)" \
    "$(printf '%b' "$alone")"
sed 's/^{/{"added_tokens":[{"id":4,"content":"e","special":true}],/' "$folder/letters.json" >"$folder/special.json"
check "text: a special token ends it, without being written" equal \
    "$(gpt2 --length 12 --tokenizer "$folder/special.json" --prompt hh --stop e 2>/dev/null)" \
    "$(echo "$alone" | sed 's/e.*//')"
check "text: no tokenizer" refused 1 'gpt2/tokenizer.json' gpt2 --prompt a
check "text: and ids" refused 2 'go without text' written --prompt a --tokens 1
check "text: no folder" refused 2 'needs --tokenizer' "$generate" --config a --weights b --prompt a
check "text: a stop text for ids" refused 2 '--stop needs text' gpt2 --tokens 1 --stop a
check "text: none" refused 1 'there is no text' written --text
printf 'ab\377\n' >"$folder/invalid"
invalid() { ! written --text <"$folder/invalid" 2>"$folder/message" && says 'byte 2 is not UTF-8'; }
check "text: not UTF-8" invalid
check "text: a tokenizer of another kind" refused 1 'pre_tokenizer Whitespace is not supported' written --prompt a \
    --tokenizer "$folder/whitespace.json"

# ---- encode ----

bert() { "$encode" --model $models/bert "$@"; }
printf '4 8 15\n16\n4 8 15 23 42 7 7\n' >"$folder/lines"
vectors() { bert "$@" <"$folder/lines"; }
check "encode: a line of numbers for each line" [ "$(vectors | wc -lw | tr -s ' ')" = ' 3 48' ]
check "encode: padding changes nothing" equal "$(vectors --dtype float64 | head -n 1 | cut -c1-12)" \
    "$(bert --tokens '4 8 15' --dtype float64 | cut -c1-12)"
check "encode: first and mean differ" [ "$(vectors --pool first)" != "$(vectors)" ]
first=$(vectors --pool first | tr ' ' '\n' | awk '$1 > 1 || $1 < -1 { far++ } END { print far + 0 }')
check "encode: first goes through the pooler's tanh" [ "$first" -eq 0 ]
length=$(vectors --normalize | awk '{ s = 0; for (i = 1; i <= NF; i++) s += $i * $i; printf "%.6f ", s }')
check "encode: normalized vectors" equal "$length" '1.000000 1.000000 1.000000 '
similarities_fit()
{
    vectors --similarity | awk '{ for (i = 1; i <= NF; i++) s[NR, i] = $i }
        END { for (i = 1; i <= 3; i++) for (k = 1; k <= 3; k++)
                  if (s[i, k] != s[k, i] || (i == k) != (s[i, k] == 1) || s[i, k] < -1) exit 1 }'
}
check "encode: similarity is symmetric, 1 with itself" similarities_fit
to_file()
{
    vectors --out "$folder/v.safetensors" >"$folder/out" && [ ! -s "$folder/out" ] &&
        grep -aq '"embeddings":{"dtype":"F32","shape":\[3,16\]' "$folder/v.safetensors"
}
check "encode: a file" to_file
i=0
while [ $i -lt 70 ]; do
    echo "$((i % 50)) 3 $((i % 7))"
    i=$((i + 1))
done >"$folder/many"
check "encode: more lines than one pass takes" equal "$(bert <"$folder/many" | sed -n 41p | cut -c1-9)" \
    "$(bert --tokens '40 3 5' | cut -c1-9)"
check "encode: no such pooling" refused 2 "--pool is 'max', must be mean or first" bert --tokens 1 --pool max
check "encode: a model of another kind" refused 1 'model_type is gpt2, must be one of bert roberta' \
    "$encode" --model $models/gpt2 --tokens 1
check "encode: too long" refused 1 'max_seq_len is 20' bert --tokens '1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1'
check "encode: a place that can not be written" refused 1 'no/such/folder' bert --tokens 1 --out no/such/folder/x
printf '{"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":
    {"type":"BertProcessing","sep":["[SEP]",2],"cls":["[CLS]",1]},"model":{"type":"WordPiece","unk_token":"[UNK]",
    "vocab":{"[UNK]":0,"[CLS]":1,"[SEP]":2%s%s}}}' "$(vocabulary '' 3 abcdefg)" "$(vocabulary '##' 26 abcdefg)" \
    >"$folder/pieces.json"
written() { bert --tokenizer "$folder/pieces.json" "$@"; }
check "encode: text" equal "$(written --sentence 'Àb, c')" "$(bert --tokens '1 3 27 0 5 2')"
check "encode: lines of text" equal "$(printf 'a\nbad\n' | written --text)" "$(printf '1 3 2\n1 4 26 29 2\n' | bert)"
check "encode: help" helps "$encode" 'says how text becomes ids'
exit $failed
