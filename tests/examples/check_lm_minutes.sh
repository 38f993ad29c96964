#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_minutes.sh PROGRAM - runs of a given time: `lm` measures the machine and chooses the number of steps.
set -eu
. tests/examples/lm_checks.sh

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
