#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_output.sh FOLDER - what every program promises of its output: a full disk or a closed stream gives an exit
# status other than 0 and one line, for --help, results, pictures and logs; a closed pipe ends a program quietly, and a
# training run with its model saved. FOLDER holds the built programs. Run from the project's root.
set -eu

programs=$1
subject=output
. tests/examples/checks.sh
lost() { # the text on stderr, then a program that must end with another status than 0 and one line
    text=$1 program=$2
    shift 2
    status=0
    "$programs/$program" "$@" 2>"$folder/message" || status=$?
    [ $status -ne 0 ] && [ "$(wc -l <"$folder/message")" -eq 1 ] && grep -qF -- "$text" "$folder/message" ||
        { echo "$program $*: exit status $status"; cat "$folder/message"; return 1; }
}

gpt2=tests/fixtures/pretrained/gpt2 bert=tests/fixtures/pretrained/bert
i=0
while [ $i -lt 40 ]; do echo 'a line of text'; i=$((i + 1)); done >"$folder/text"
tiny="$folder/text --batch 2 --context 8 --layers 1 --heads 1 --emb 8"
small() { # folder, then options: a short training run
    out=$folder/$1
    shift
    # shellcheck disable=SC2086
    "$programs/lm" train $tiny --out "$out" --steps 3 "$@"
}
small run >"$folder/out" 2>&1
model=$folder/run/last.safetensors

each_program() { # a command that is given a program and its arguments, each of which writes to stdout
    failures=0
    for program in generate encode finetune head_attention multi_head_attention attention_gradients gradcheck \
        linear_regression translate forecast classify check_kernel explorer exercises; do
        "$@" $program --help || failures=1
    done
    "$@" lm --help || failures=1
    "$@" lm train --help || failures=1
    "$@" lm sample --model "$model" --tokens 50 || failures=1
    "$@" lm eval --model "$model" "$folder/text" || failures=1
    "$@" lm inspect --model "$model" --prompt text || failures=1
    "$@" lm tokenize --model "$model" <"$folder/text" || failures=1
    "$@" generate --model $gpt2 --tokens 1 --length 4 2>&1 || failures=1
    "$@" encode --model $bert --tokens 1 || failures=1
    "$@" head_attention --svg "$folder/a" || failures=1
    "$@" multi_head_attention --svg "$folder/b" || failures=1
    "$@" attention_gradients || failures=1
    "$@" explorer || failures=1
    "$@" exercises || failures=1
    "$@" linear_regression || failures=1
    "$@" gradcheck --list || failures=1
    return $failures
}

full() { lost 'can not write to stdout: No space left on device' "$@" >/dev/full; }
full_generate() { # has a line about its speed too
    ! "$programs/generate" --model $gpt2 --tokens 1 --length 4 >/dev/full 2>"$folder/message" &&
        grep -q '^generate: can not write to stdout' "$folder/message"
}
closed() { lost 'can not write to stdout: Bad file descriptor' "$@" >&-; }
without_generate() { # generate has a line about its speed too
    [ "$2 ${3-}" != 'generate --model' ] || return 0
    "$@"
}
full_log() { # the name in the run's folder, then options
    mkdir -p "$folder/log"
    rm -f "$folder/log/"*
    ln -s /dev/full "$folder/log/$1"
    file=$1
    shift
    ! small log --report 1 --sample 0 "$@" >"$folder/out" 2>"$folder/message" &&
        grep -q "^lm: $folder/log/$file can not be written" "$folder/message" && ! grep -q '^wrote' "$folder/message"
}
full_samples() {
    ! small samples >/dev/full 2>"$folder/message" && [ -s "$folder/samples/last.safetensors" ] &&
        grep -q '^lm train: can not write to stdout' "$folder/message"
}
full_picture() { # program, option, name
    ! "$programs/$1" "$2" "$3" >"$folder/out" 2>"$folder/message" && [ "$(wc -l <"$folder/message")" -eq 1 ]
}
through_link() {
    ln -s "$folder/later.svg" "$folder/link.svg"
    "$programs/classify" --steps 1 --out "$folder/link.svg" >"$folder/out" 2>"$folder/message" &&
        [ -L "$folder/link.svg" ] && grep -q '</svg>' "$folder/later.svg"
}
check "a picture goes where a link leads that leads nowhere yet" through_link
if [ -c /dev/full ]; then
    check "a full disk" each_program without_generate full
    check "a full disk under generate" full_generate
    check "a full disk under log.csv" full_log log.csv
    check "a full disk under profile.csv" full_log profile.csv --profile
    check "which loses no model" test -s "$folder/log/last.safetensors"
    check "a full disk under the samples of a run" full_samples
    ln -s /dev/full "$folder/full-weights.svg"
    ln -s /dev/full "$folder/full-bright.svg"
    check "a full disk under pictures" full_picture head_attention --svg "$folder/full"
    check "and the last of three" full_picture multi_head_attention --svg "$folder/full"
    check "a full disk under a trace" full_picture attention_gradients --json /dev/full
    check "messages that can not be written" \
        sh -c "! $programs/lm train $tiny --out $folder/mute --steps 3 >/dev/null 2>/dev/full"
else
    echo "skip  output: there is no /dev/full"
fi
check "a closed stdout" each_program without_generate closed
check "a log is not where a closed stdout was" \
    sh -c "! $programs/lm train $tiny --out $folder/shut --steps 3 >&- 2>&- &&
        [ \$(wc -l <$folder/shut/log.csv) -eq 2 ]"

pipe() { # the end's status into the file `status`; stderr into `message`
    { status=0; "$@" 2>"$folder/message" || status=$?; echo $status >"$folder/status"; } |
        head -c 5 >"$folder/out"
}
quiet_pipe() {
    pipe "$@"
    [ "$(cat "$folder/status")" -ne 0 ] && ! [ -s "$folder/message" ] ||
        { cat "$folder/message"; return 1; }
}
ignored_pipe() ( trap '' PIPE; quiet_pipe "$@" ) # a parent ignores the signal
check "a closed pipe" quiet_pipe "$programs/lm" sample --model "$model" --tokens 1000000
check "a closed pipe whose signal is ignored" ignored_pipe "$programs/lm" sample --model "$model" --tokens 1000000
stops_and_saves() { # options with which the output comes soon
    # shellcheck disable=SC2086
    pipe "$programs/lm" train $tiny --out "$folder/pipe" --steps 100000000 --report 1000000 "$@"
    [ "$(cat "$folder/status")" -eq 1 ] && grep -q '^stopped after step' "$folder/message" &&
        [ -s "$folder/pipe/last.safetensors" ]
}
check "a training run whose samples no one reads any more" stops_and_saves --sample 10
exit $failed
