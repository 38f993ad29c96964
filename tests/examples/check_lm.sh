#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm.sh PROGRAM - what `lm` promises: the same losses for every thread count and from run to run, a resumed run
# equal to one that never stopped, Ctrl-C that saves, and errors in one line. AG_SHORT=1: no terminals. Run from the
# project's root.
set -eu

lm=$1
[ -x "$lm" ] || { echo "FAIL  lm: there is no program $lm"; exit 1; }
subject=lm
. tests/examples/checks.sh

train() { # folder, then options
    out=$1
    shift
    rm -rf "${folder:?}/$out"
    "$lm" train --batch 4 --context 32 --layers 2 --emb 32 --report 4 --sample 0 --dropout 0.1 --warmup 2 \
        --out "$folder/$out" "$@" >"$folder/$out.txt" 2>"$folder/$out.err"
}
losses() { cat "$folder/$1/log.csv"; }
same_losses() { [ "$(losses "$1")" = "$(losses "$2")" ]; }
other_losses() { ! same_losses "$1" "$2"; }
same_model() { cmp -s "$folder/$1/best.safetensors" "$folder/$2/best.safetensors"; }
same_run() { # the same files, byte for byte
    for file in log.csv samples.txt best.safetensors last.safetensors config.json; do
        cmp "$folder/$1/$file" "$folder/$2/$file" || return 1
    done
}
quiet() { "$@" >"$folder/message" 2>&1; }
refused() { # status, text, then arguments
    status=$1 text=$2
    shift 2
    got=0
    "$lm" "$@" >"$folder/message" 2>&1 || got=$?
    [ "$got" -eq "$status" ] && says "$text"
}

head -c 20000 examples/data/pride_and_prejudice.txt >"$folder/some.txt"
train one --steps 12 --threads 1
train two --steps 12 --threads 2
train again --steps 12 --threads 2
check "1 and 2 threads write the same losses" same_losses one two
check "and the same model" same_model one two
check "model.safetensors is the best model" cmp -s "$folder/one/model.safetensors" "$folder/one/best.safetensors"
check "--data is a text" refused 1 "$folder/none.txt" train --data "$folder/none.txt" --out "$folder/none"
check "beside none that is a word" refused 2 'are both texts' train --data a b
check "two runs write the same losses" same_losses two again
train other --steps 12 --seed 2
check "another seed writes other losses" other_losses one other
train decayed --steps 12 --weight-decay 0.9
check "so does another weight decay" other_losses one decayed
train lean --steps 12 --recompute
check "recomputation writes the same losses" same_losses one lean
check "and the same model" same_model one lean
train profiled --steps 12 --profile
check "a profile changes no losses" same_losses one profiled
profile_is_shown()
{
    grep -q 'a step, over 12 steps' "$folder/profiled.err" && grep -q '^optimizer  *1  ' "$folder/profiled.err" &&
        grep -q '^blocks.0..1 ' "$folder/profiled.err" &&
        grep -q '^linear,blocks.1.ff.up,12,' "$folder/profiled/profile.csv"
}
check "and is shown by op and by module, and written" profile_is_shown
check "the log has a line per report" [ "$(wc -l <"$folder/one/log.csv")" -eq 4 ]
check "the baselines are printed" grep -q 'uniform 4.317  unigram 3.110  bigram 2.447' "$folder/one.err"
check "a sample is on stdout" grep -q 'sample after step 12' "$folder/one.txt"

# A run that goes on from a checkpoint is the run that never stopped, byte for byte; check_crash.sh stops runs anywhere.
goes_on_as() { # the step of the checkpoint, then options
    half=$1
    shift
    train whole --steps 12 --schedule constant "$@"
    train part --steps "$half" --schedule constant "$@"
    check "$*: a run goes on" quiet "$lm" train --continue "$folder/part" --steps 12
    check "and is the run that never stopped" same_run whole part
}
goes_on_as 8 --optimizer adamw
goes_on_as 8 --optimizer sgd --patience 2
goes_on_as 10 --sample 3 --report 5
rm "$folder/part/report.html"
check "a run that was stopped in its ending ends" quiet "$lm" train --continue "$folder/part"
check "with a report" test -s "$folder/part/report.html"
check "as the run that never stopped" same_run whole part
check "a run that has made all its steps" refused 1 'has made all its 12 steps; --steps N, more than that, trains' \
    train --continue "$folder/part"
check "another option is the run's own" refused 2 "lm train --continue: unknown option '--emb'" train \
    --continue "$folder/part" --emb 64
check "a run that is not there" refused 1 'there is no run to go on with' train --continue "$folder/none"
check "a run is not overwritten" refused 1 "$folder/part holds a run, which is not overwritten; give another --out" \
    train --out "$folder/part" --steps 3
check "which is said before a text is read" refused 1 "$folder/part holds a run" train no-such.txt --out "$folder/part"
cp "$folder/some.txt" "$folder/changing.txt"
train changed "$folder/changing.txt" --steps 8
echo more >>"$folder/changing.txt"
check "a text that has changed" refused 1 'the text has changed since' train --continue "$folder/changed" --steps 12
train plain-config --steps 12
rm -rf "$folder/from-config"
quiet "$lm" train --config "$folder/plain-config/config.json" --out "$folder/from-config"
check "a run's config.json makes the same run" same_run plain-config from-config
train from-config --config "$folder/plain-config/config.json" --seed 7
check "over which options go" other_losses plain-config from-config
printf '{"stpes": 5}' >"$folder/wrong.json"
check "a config with an unknown key" refused 2 "wrong.json: unknown option '--stpes'; did you mean --steps?" train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{\n"steps": 5' >"$folder/wrong.json"
check "a config that is cut off" refused 2 'wrong.json: line 2: a comma is missing' train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{"steps": 5, "seed": -1}' >"$folder/wrong.json"
check "a config with a wrong value" refused 2 "wrong.json: --seed is '-1', which is not" train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{"steps": 1}\n{"steps": 2}' >"$folder/wrong.json"
check "a config with more behind it" refused 2 "wrong.json: line 2: there is more behind the object's }" train \
    "$folder/some.txt" --config "$folder/wrong.json"
printf '{"steps": 1}\000' >"$folder/wrong.json"
check "a NUL, too" refused 2 "wrong.json: line 1: there is more behind the object's }" train \
    "$folder/some.txt" --config "$folder/wrong.json"
check "a folder as config" refused 2 "$folder: Is a directory" train --config "$folder"
check "no config" refused 2 "no-such.json: No such file" train --config no-such.json
if (ulimit -v 300000 && "$lm" --help) >"$folder/message" 2>&1; then # not with sanitizers
    little_memory() (ulimit -v 300000 && refused 2 'lm train: /dev/zero: out of memory after ' train --config /dev/zero)
    check "a config that does not fit" little_memory
fi

# Numbered runs, the newest of them, from a folder of its own; what is printed is a command.
numbered() (
    program=$PWD/$lm name="it's a text"
    mkdir -p "$folder/away" && cd "$folder/away" && cp ../some.txt "$name"
    "$program" train "$name" --steps 3 --emb 16 --heads 2 --layers 1 --threads 1 "$@" >out 2>err
)
check "a run without --out" numbered
check "and a second one" numbered --seed 2
numbers() { [ -s "$folder/away/runs/1/best.safetensors" ] && [ -s "$folder/away/runs/2/best.safetensors" ]; }
check "are numbered" numbers
run_printed() ( cd "$folder/away" && eval "$(sed -n "$1" err)" )
check "the command that is printed at the end runs" quiet run_printed 's/^sample *//p'
away_sample() ( program=$PWD/$lm && cd "$folder/away" && "$program" sample --tokens 40 "$@" )
check "lm sample takes the newest run" [ "$(away_sample)" = "$(away_sample --model runs/2)" ]
check "which is not the older one" [ "$(away_sample)" != "$(away_sample --model runs/1)" ]

"$lm" train --batch 4 --context 32 --layers 2 --emb 32 --steps 1000000 --sample 0 --report 5 --out "$folder/it is" \
    >/dev/null 2>"$folder/message" &
process=$!
while [ ! -s "$folder/it is/log.csv" ] || [ "$(wc -l <"$folder/it is/log.csv")" -lt 2 ]; do sleep 0.1; done
refused_meanwhile() { ! "$lm" train --continue "$folder/it is" 2>&1 | grep -v 'is being trained by another program$'; }
check "a run is trained by one program" refused_meanwhile
kill -TERM $process
check "a stopped run ends well" wait $process
check "and says how to go on" says "$lm train --continue '$folder/it is'"
check "and why" says 'of 1000000 by SIGTERM, and saved'
steps=$(sed -n 's/^stopped after step \([0-9]*\) .*/\1/p' "$folder/message")
printed=$(sed -n 's/^    //p' "$folder/message")
goes_on() { eval "$printed --steps $((steps + 200))"; } # some steps more
check "by a command that runs" quiet goes_on
check "and goes on" says "step $((steps + 200))"

model=$folder/one
sample() { "$lm" sample --model "$model" --tokens 60 --prompt 'Mr. ' "$@"; }
check "the same seed writes the same text" [ "$(sample --seed 5)" = "$(sample --seed 5)" ]
check "another seed writes another" [ "$(sample --seed 5)" != "$(sample --seed 6)" ]
check "temperature 0 needs no seed" [ "$(sample --temperature 0 --seed 5)" = "$(sample --temperature 0 --seed 6)" ]
check "top-k 1 is temperature 0" [ "$(sample --top-k 1)" = "$(sample --temperature 0)" ]
check "so is a tiny top-p" [ "$(sample --top-p 1e-9)" = "$(sample --temperature 0)" ]
check "top-p 1 keeps all" [ "$(sample --top-p 1)" = "$(sample)" ]
check "top-p 0.5 does not" [ "$(sample --top-p 0.5)" != "$(sample)" ]
check "the text begins with the prompt" [ "$(sample | head -c 4)" = "Mr. " ]

printf 'abcdefghijklmnopqrst' >"$folder/twenty.txt" # 18 to train on: one window of 17 and its successor
check "a text of just one window trains" quiet "$lm" train "$folder/twenty.txt" --context 17 --emb 8 \
    --heads 1 --steps 2 --report 1 --out "$folder/twenty"
check "and has a validation loss, of a window cut short" grep -q '^2,[0-9.]*,[0-9.]*,' "$folder/twenty/log.csv"
"$lm" train "$folder/twenty.txt" --context 16 --emb 16 --heads 1 --layers 1 --steps 100 --batch 4 --lr 0.01 \
    --warmup 5 --report 100 --sample 0 --out "$folder/windows" >/dev/null 2>&1 # it has two windows, and knows them then
next_letter() # prompt
{
    "$lm" sample --model "$folder/windows" --temperature 0 --tokens 1 --prompt "$1" | tail -c 2
}
check "the last window is trained on" [ "$(next_letter bcdefghijklmnopq)" = r ]
check "the validation text is not" [ "$(next_letter cdefghijklmnopqr)" != s ]
check "one token less is refused" refused 1 'a context of 18 needs 19: give --context 17 or less, or more text' \
    train "$folder/twenty.txt" --context 18 --out "$folder/none"
i=0
while [ $i -lt 40 ]; do
    printf 'съешь ещё этих мягких французских булок €𝄞 '
    i=$((i + 1))
done >"$folder/bytes.txt"
"$lm" train "$folder/bytes.txt" --level byte --context 16 --emb 16 --heads 2 --layers 1 --steps 30 --report 30 \
    --out "$folder/bytes" >"$folder/bytes.out" 2>&1
"$lm" sample --model "$folder/bytes" --prompt 'съе' --tokens 333 --temperature 2 \
    >"$folder/bytes.sample"
check "a byte model writes whole characters only" iconv -f UTF-8 -t UTF-8 -o "$folder/converted" "$folder/bytes.sample"
check "also such of two bytes" sh -c 'tail -c +7 "$0" | LC_ALL=C grep -q "$(printf "\320")"' "$folder/bytes.sample"

# Byte pairs learned from the text: more bytes than tokens, a resumed run, any bytes, another text.
head -c 60000 examples/data/pride_and_prejudice.txt >"$folder/part.txt"
pairs() { # folder, then options
    out=$1
    shift
    "$lm" train "$folder/part.txt" --vocab 400 --batch 4 --context 16 --layers 1 --heads 2 --emb 16 --report 4 \
        --sample 0 --schedule constant --out "$folder/$out" "$@" >"$folder/$out.txt" 2>"$folder/$out.err"
}
pairs pairs --steps 8
pairs pairs-half --steps 4
quiet "$lm" train --continue "$folder/pairs-half" --steps 8
check "byte pairs: a resumed run ends with the same model" same_run pairs pairs-half
check "as many as were asked for" grep -qx 'vocab     400' "$folder/pairs.err"
check "the loss is said per byte too" grep -q 'nats per token, [0-9.]* bits per byte' "$folder/pairs.err"
check "a prompt of any bytes begins the text" sh -c '[ "$("$0" sample --model "$1" --tokens 3 \
    --prompt "€ 日本 $(printf "\\001")" | head -c 11)" = "€ 日本 " ]' "$lm" "$folder/pairs/best.safetensors"
check "too few tokens" refused 2 '--vocab is 256, must be 257 to 65536' train --vocab 256
printf 'Ein anderer Text, ein anderer Text, ein anderer Text. %.0s' 1 2 3 4 5 6 7 8 >"$folder/other.txt"
check "a model goes on with another text" quiet "$lm" train "$folder/other.txt" --steps 2 --sample 0 --batch 2 \
    --from "$folder/pairs/best.safetensors" --out "$folder/another"
check "with its own tokens" grep -qx 'vocab     400' "$folder/message"
check "which must have the text's characters" refused 1 "the text has the character 'с' (U+0441)" train \
    "$folder/bytes.txt" --from "$folder/one/best.safetensors" --out "$folder/none"

# What kind of model: each option trains, goes on from a checkpoint without being said again, and samples.
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
for options in '--positions sinusoidal' '--positions rotary' '--positions alibi' '--positions none' '--norm rms' \
    '--ff relu' '--ff silu' '--ff swiglu' '--ff geglu' '--window 4' '--kv-heads 1' --qk-norm; do
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
resumes 'rotary positions, rms norm, swiglu feed-forward, 1 key heads, query and key norm' \
    --positions rotary --norm rms --ff swiglu --kv-heads 1 --qk-norm
resumes 'alibi positions, layer norm, silu feed-forward, 2 key heads' --positions alibi --ff silu --kv-heads 2
resumes 'no positions, rms norm, geglu feed-forward, window 7' --positions none --norm rms --ff geglu --window 7
resumes 'learned positions, layer norm, gelu feed-forward' # the window that it sees moves on
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

check "no command" refused 2 'usage: lm COMMAND'
check "unknown command" refused 2 "lm: unknown command 'tarin'; did you mean lm train?" tarin
check "one that none resembles" refused 2 "lm: unknown command 'learn'; try lm --help" learn
check "help" quiet "$lm" help
flags_are_tried() { # every flag of every command stands in a test
    for command in train 'train --continue' finetune sample eval inspect tokenize export; do
        # shellcheck disable=SC2086
        "$lm" $command --help >"$folder/help"
        for flag in $(grep -o '^  --[a-z-]*' "$folder/help"); do
            grep -qE -- "$flag([^a-z-]|\$)" tests/examples/check_lm*.sh tests/examples/check_crash.sh ||
                { echo "lm $command $flag is in no test"; return 1; }
        done
        awk 'length > 79 { print; long = 1 } END { exit long }' "$folder/help" || return 1
    done
}
check "every flag has a test, and help fits 79 columns" flags_are_tried
check "unknown option" refused 2 "lm train: unknown option '--stpes'; did you mean --steps?" train --stpes 5
check "an option that none resembles" refused 2 "unknown option '--frobnicate'; try --help" train --frobnicate
check "a flag takes no value" refused 2 '--qk-norm takes no value' train --qk-norm=1
check "a word that resembles one" refused 2 'must be one of: char byte bpe; did you mean char?' train --level chars
check "a word that is no number" refused 2 "--steps is 'many'" train --steps many
check "top-p of nothing" refused 2 'lm sample: --top-p is 0, must be above 0 and at most 1' sample --model "$model" \
    --top-p 0
check "top-p above 1" refused 2 'lm sample: --top-p is 1.01, must be above 0 and at most 1' sample --model "$model" \
    --top-p 1.01
check "a momentum that grows for ever" refused 1 'lm train: --momentum is 1, must be at least 0 and below 1' train \
    --optimizer sgd --momentum 1 --steps 1 --out "$folder/none"
check "zero steps" refused 2 'lm train: --steps is 0, must be 1 to 1000000000' train --steps 0
check "more threads than a machine bears" refused 1 'lm train: --threads is 257, must be at most 256' \
    train --threads 257 --out "$folder/none"
check "and to sample with" refused 1 'lm sample: --threads is 257, must be at most 256' sample \
    --model "$model" --threads 257
check "a step so long that nothing is finite" refused 1 'lm: found: ' train --batch 4 --context 32 --layers 2 --emb 32 \
    --steps 50 --optimizer sgd --lr 1e30 --clip 0 --warmup 0 --out "$folder/infinite"
check "says what to change" says 'to change: give --clip 1; lower --lr ('
check "no such optimizer" refused 2 "--optimizer is 'adam', must be one of: adamw sgd" train --optimizer adam
check "no such text" refused 1 'no-such-file.txt' train no-such-file.txt --out "$folder/none"
check "heads that do not divide" refused 1 'lm train: --heads 4: must divide --emb 30: 1, 2, 3, 5, 6, 10, 15, 30' \
    train --emb 30 --out "$folder/none"
check "kv-heads that do not divide" refused 1 'lm train: --kv-heads 3: must divide --heads 4: 1, 2, 4' \
    train --kv-heads 3 --out "$folder/none"
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
printf 'short' >"$folder/short.txt"
check "a text that is too short" refused 1 'has too few tokens, 5: 20' train "$folder/short.txt" --out "$folder/none"
printf 'ab\377cd' >"$folder/broken.txt"
# Texts: trained, gone on with and sampled, or refused before training in one line that says what to do.
tiny() { # the text's name, then options
    text=$1
    shift
    rm -rf "$folder/text"
    quiet "$lm" train "$folder/$text" --batch 2 --context 8 --layers 1 --heads 1 --emb 8 --sample 0 \
        --out "$folder/text" "$@"
}
text_works() { # name, the printf that makes a line of it, then options
    text=$1 line=$2
    shift 2
    i=0
    # shellcheck disable=SC2059
    while [ $i -lt 40 ]; do printf "$line"; i=$((i + 1)); done >"$folder/$text"
    tiny "$text" --steps 2 "$@" && quiet "$lm" train --continue "$folder/text" --steps 3 &&
        quiet "$lm" sample --model "$folder/text" --tokens 5 &&
        quiet "$lm" sample --model "$folder/text" --tokens 5 --prompt ''
}
text_refused() { # text of the message, then the printf that makes the file
    # shellcheck disable=SC2059
    printf "$2" >"$folder/refused.txt"
    ! tiny refused.txt --steps 2 && says "lm: $folder/refused.txt: $1" && ! [ -e "$folder/text" ] &&
        [ "$(wc -l <"$folder/message")" -eq 1 ]
}
written() { "$lm" sample --model "$folder/text" --tokens 5 "$@" | tr -d '\n' | wc -m; }
check "a text of lines" text_works lines 'a line\n'
check "of lines that end with CR and LF" text_works crlf 'a line\r\n'
check "without an end of a line" text_works flat 'Hello world! '
check "writes as many characters as asked for" [ "$(written)" -eq 5 ]
check "of control characters, quotes and the last of Unicode" text_works odd \
    '"\\\001\037\177\302\200\342\200\250\357\277\277\364\217\277\277\t'
check "of one character" text_works single 'a'
check "of NULs, as bytes" text_works nul 'ab\000ba\n' --level byte
check "of any bytes" text_works binary '\000\001\377\376\300\200' --level byte
check "with a byte order mark" text_works mark '\357\273\277hello\n'
printf '\357\273\277abcabcabcabcabcabcabcabcabcabc' >"$folder/marked.txt"
quiet tiny marked.txt --steps 2
check "which is no part of the text" grep -qx 'vocab     3' "$folder/message"
check "a text with a NUL" text_refused 'byte 2 is NUL, which no text has; remove it, or use --level byte' 'ab\000ab\n'
check "UTF-16 with a mark" text_refused 'looks like UTF-16 or UTF-32; convert it to UTF-8' '\377\376a\000b\000'
check "UTF-16, the other way round" text_refused 'looks like UTF-16' '\376\377\000a\000b'
check "UTF-16 without a mark" text_refused 'looks like UTF-16' 'a\000b\000c\000'
check "and the other way round" text_refused 'looks like UTF-16' '\000a\000b\000c'
check "of Cyrillic letters and spaces" text_refused 'looks like UTF-16' '\004\102\000 \004\062\000 \004\103'
check "of an emoji, too" text_refused 'looks like UTF-16' 'o\000k\000 \000\075\330\000\336 \000o\000k\000'
check "UTF-32 of them" text_refused 'looks like UTF-16 or UTF-32' '\102\004\000\000\076\004\000\000 \000\000\000'
check "an empty text" text_refused 'the text is empty' ''
check "a text of a mark alone" text_refused 'the text is empty' '\357\273\277'
check "UTF-16 for byte pairs" sh -c "printf 'a\\000b\\000c\\000' >'$folder/wide.txt'
    ! '$lm' train '$folder/wide.txt' --vocab 300 --out '$folder/none' 2>'$folder/message'
    grep -q 'wide.txt: looks like UTF-16' '$folder/message' && ! [ -e '$folder/none' ]"
check "a text cut within a character" text_refused 'byte 2 is not UTF-8; convert it' 'ab\342\202'
check "a text that is not UTF-8" refused 1 'byte 2 is not UTF-8; convert it' train "$folder/broken.txt"
# Before a run: a model that does not fit, a plan, presets, a run of a given time.
check "a model that does not fit" refused 1 'GB are free: lower --batch, --context, --emb or --layers' \
    train "$folder/some.txt" --emb 1000000 --heads 8 --layers 1000 --out "$folder/none"
check "fewer steps than the warm-up" refused 1 '--steps 9 ends within the warm-up; give --warmup 0' \
    train "$folder/some.txt" --steps 9 --warmup 9 --out "$folder/none"
check "minutes and steps" refused 2 'lm train: --minutes chooses the steps; give it or --steps' \
    train --minutes 1 --steps 5
check "a plan" quiet "$lm" train "$folder/some.txt" --preset toy --dry-run --out "$folder/none"
check "which says the time" grep -q '^time      about [0-9]* s: 2000 steps of ' "$folder/message"
check "and the memory" grep -q '^memory    about [0-9.]* GB of [0-9.]* GB that are free' "$folder/message"
check "and makes no folder" [ ! -e "$folder/none" ]
preset() { # name, the introduction's text
    rm -rf "$folder/preset"
    quiet "$lm" train "$folder/some.txt" --preset "$1" --steps 2 --batch 1 --sample 0 --out "$folder/preset" &&
        says "$2"
}
check "toy" preset toy '2 layers, 2 heads of 32, embedding 64'
check "tiny" preset tiny '4 layers, 4 heads of 32, embedding 128'
check "small" preset small '6 layers, 6 heads of 32, embedding 192'
check "baby" preset baby '6 layers, 6 heads of 64, embedding 384'
check "nanogpt-cpu" preset nanogpt-cpu 'rotary positions, rms norm, swiglu feed-forward, query and key norm'
check "nanogpt-cpu-published" preset nanogpt-cpu-published 'learned positions, layer norm, gelu feed-forward'
check "no such preset" refused 2 'nanogpt-cpu nanogpt-cpu-published; did you mean tiny?' train --preset tinny
timed() { # a run of six seconds with a model of many steps, on a machine that stands still for as long
    "$lm" train "$folder/some.txt" --minutes 0.1 --layers 1 --heads 1 --emb 8 --context 8 --batch 1 --report 10 \
        --sample 0 --out "$folder/timed" >"$folder/message" 2>&1 &
    process=$!
    while [ ! -s "$folder/timed/log.csv" ] || [ "$(wc -l <"$folder/timed/log.csv")" -lt 2 ]; do
        kill -0 $process || return 1
        sleep 0.1
    done
    kill -STOP $process && sleep 6 && kill -CONT $process && wait $process
}
check "a run of a given time" timed
check "makes fewer steps when it was held up" says "steps now, and not "
check "and says only clear changes" [ "$(grep -c "steps now, and not " "$folder/message")" -le 8 ]
last_step=$(tail -n 1 "$folder/timed/log.csv" | cut -d, -f1)
check "and keeps their number" grep -q "\"steps\": $last_step," "$folder/timed/config.json"
for_ever() { # more time than the largest number of steps takes
    "$lm" train "$folder/some.txt" --minutes 1e5 --layers 1 --heads 1 --emb 8 --context 8 --batch 1 --report 10 \
        --sample 0 --out "$folder/ever" >"$folder/message" 2>&1 &
    process=$!
    while [ ! -s "$folder/ever/log.csv" ] || [ "$(wc -l <"$folder/ever/log.csv")" -lt 2 ]; do
        kill -0 $process || return 1
        sleep 0.1
    done
    kill -TERM $process && wait $process
}
check "a run of weeks" for_ever
check "has as many steps as --steps may have" grep -q '"steps": 1000000000,' "$folder/ever/config.json"

# What the losses say.
head -c 1500 "$folder/some.txt" >"$folder/little.txt"
little() { # options
    rm -rf "$folder/little"
    quiet "$lm" train "$folder/little.txt" --batch 8 --context 16 --layers 1 --heads 2 --emb 32 --report 20 --sample 0 \
        --out "$folder/little" "$@"
}
check "a text learned by heart" little --steps 1000
check "is said" says 'warning: overfitting: validation has risen since step'
best_is_earlier() { sed -n 's/^best      step \([0-9]*\): .*/\1/p' "$folder/message" | grep -qvx 1000; }
check "and its best model is an earlier one" best_is_earlier
check "patience" little --steps 100000 --patience 4
check "ends a run" says 'end       no better validation loss for --patience reports: step '
check "which does not go on" refused 1 'by --patience 4' train --continue "$folder/little"
check "a learning rate that is far too high" little --steps 60 --lr 3
check "has its step" says 'warning: lower --lr (now 3): diverged at step '
check "one that is far too low" little --steps 200 --lr 1e-6
check "is a plateau" says 'warning: plateau: after '

# Several texts, folders, standard input, a text for validation.
mkdir -p "$folder/texts/more" "$folder/hollow"
head -c 300 "$folder/some.txt" >"$folder/texts/a.txt"
tail -c +301 "$folder/some.txt" | head -c 500 >"$folder/texts/b.txt"
tail -c +801 "$folder/some.txt" >"$folder/texts/more/c.txt"
echo hidden >"$folder/texts/.hidden"
train whole-text --steps 8 "$folder/some.txt"
train parts --steps 8 "$folder/texts/a.txt" "$folder/texts/b.txt" "$folder/texts/more/c.txt"
check "a text in parts is the text" same_losses whole-text parts
train of-a-folder --steps 8 "$folder/texts"
check "and so is a folder of them" same_losses whole-text of-a-folder
train standard --steps 8 - <"$folder/some.txt"
check "and standard input" same_losses whole-text standard
check "which is kept" cmp "$folder/some.txt" "$folder/standard/text.txt"
check "so that the run goes on" quiet "$lm" train --continue "$folder/standard" --steps 12
train validated --steps 8 "$folder/some.txt" --val "$folder/texts/a.txt"
check "a text for validation leaves all of the other to train on" grep -q \
    "^split     20000 to train on, 300 to validate ($folder/texts/a.txt)" "$folder/validated.err"
validated() { # bytes of text
    head -c "$1" /dev/zero | tr '\0' a >"$folder/long.txt"
    quiet "$lm" train "$folder/long.txt" --val "$folder/long.txt" --batch 8 --context 256 --layers 1 --heads 1 \
        --emb 8 --steps 1 --sample 0 --out "$folder/long$1"
}
check "a long text for validation" validated 1100000
check "is validated whole" says 'on all the text'
check "a longer one" validated 2100000
check "in part" says 'on about a million of its tokens'
printf a >"$folder/a"
check "one that is too short" refused 1 "lm: $folder/a: a text to validate on needs at least 2 tokens" \
    train "$folder/some.txt" --val "$folder/a" --out "$folder/none"
check "an empty one" refused 1 "lm: /dev/null: the text is empty" train "$folder/some.txt" --val /dev/null
check "a folder without texts" refused 1 "lm: $folder/hollow: the text is empty" train "$folder/hollow"
if [ "$(id -u)" -ne 0 ]; then
    chmod 0 "$folder/texts/b.txt"
    check "a text that may not be read" refused 1 "lm: $folder/texts/b.txt: Permission denied" train "$folder/texts"
fi
if dd if=/dev/zero of="$folder/huge.txt" bs=1 count=0 seek=1T 2>/dev/null; then # a hole
    check "a text that does not fit" refused 1 "lm: $folder/huge.txt: memory is free for " train "$folder/huge.txt"
fi
check "no such model" refused 1 'no-such-model' sample --model no-such-model
check "a prompt of unknown characters" refused 1 "has the character 'é' (U+00E9)" sample --model "$model" \
    --prompt 'café'
check "a prompt that is not UTF-8" refused 1 'the prompt: byte 1 is not UTF-8' sample --model "$model" \
    --prompt "$(printf 'a\377')"
check "more tokens than fit" refused 2 '--tokens is 1000000001, must be 0 to 1000000000' sample --tokens 1000000001
if [ -n "${AG_SHORT:-}" ]; then
    echo "skip  lm: terminals: AG_SHORT"
elif python3 -c 'import pty' 2>/dev/null; then
    python3 tests/examples/check_terminal.py "$lm" "$folder/some.txt" "$folder/terminals" || failed=1
else
    echo "skip  lm: terminals: there is no python3"
fi
exit $failed
