#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_plans.sh PROGRAM - what `lm` measures and chooses: warnings of what the losses show, dropout, a run of a
#     given time.
set -eu
. tests/examples/lm_checks.sh

# What the losses say.
head -c 1500 "$folder/some.txt" >"$folder/little.txt"
little() { # options
    rm -rf "$folder/little"
    quiet "$lm" train "$folder/little.txt" --batch 8 --context 16 --layers 1 --heads 2 --emb 32 --report 20 --sample 0 \
        --out "$folder/little" "$@"
}
check "a text learned by heart" little --steps 1000 --dropout 0
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

# The dropout that is chosen; each introduction measures the machine.
head -c 99999 examples/data/pride_and_prejudice.txt >"$folder/chars.txt"
of_default() { # the default's sizes: 5 parameters a byte of chars.txt, which 88 steps read once
    introduces "$@" "$folder/chars.txt" --layers 4 --heads 3 --emb 96
}
check "a text that is read often has dropout" of_default ', dropout 0.1$' --steps 190
check "one that is read very often, more" of_default ', dropout 0.2$' --steps 900
check "others none" of_default 'query and key norm$' --steps 160
check "nor where none is asked for" of_default 'query and key norm$' --steps 900 --dropout 0
check "nor a small model" introduces_small 'query and key norm$' "$folder/chars.txt" --steps 900

# A run of a given time.
begin_minutes() { # folder, minutes, reports: begins a run with a model of many steps, and waits for its reports
    "$lm" train "$folder/some.txt" --minutes "$2" --layers 1 --heads 1 --emb 8 --context 8 --batch 1 --report 10 \
        --sample 0 --out "$folder/$1" >"$folder/message" 2>&1 &
    process=$!
    while [ ! -s "$folder/$1/log.csv" ] || [ "$(wc -l <"$folder/$1/log.csv")" -le "$3" ]; do
        kill -0 $process || return 1
        sleep 0.1
    done
}
for_ever() { # more time than the largest number of steps takes
    begin_minutes ever 1e5 1 && kill -TERM $process && wait $process
}
check "a run of weeks" for_ever
check "has as many steps as --steps may have" grep -q '"steps": 1000000000,' "$folder/ever/config.json"
ends() { # the process, within 20 seconds
    tenths=0
    while kill -0 $process 2>/dev/null && [ $tenths -lt 200 ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
    [ $tenths -lt 200 ] && wait $process
}
timed() { # nine seconds, on a machine that stands still for six of them
    begin_minutes timed 0.15 40 && kill -STOP $process && sleep 6 && kill -CONT $process && ends
}
check "a run of a given time" timed
check "makes fewer steps when it was held up" says "steps now, and not "
changes=$(grep -c "steps now, and not " "$folder/message")
check "and says only clear changes" [ $((3 * changes)) -le "$(wc -l <"$folder/timed/log.csv")" ]
last_step=$(tail -n 1 "$folder/timed/log.csv" | cut -d, -f1)
check "and keeps their number" grep -q "\"steps\": $last_step," "$folder/timed/config.json"
exit $failed
