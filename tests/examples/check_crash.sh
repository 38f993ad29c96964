#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_crash.sh PROGRAM [KILLS TERMS DISKS SEED] - training runs of `lm` that end at random moments: by kill -9, by
# SIGTERM, on a full disk (a small tmpfs, for root alone), and whose folder is removed. What they leave must load, and
# `lm train --continue` must end in the bytes of the run that never stopped. `make crash-proof` is the long form.
set -eu

lm=$1 kills=${2:-5} terms=${3:-3} disks=${4:-2} seed=${5:-1}
[ -x "$lm" ] || { echo "FAIL  crash: there is no program $lm"; exit 1; }
folder=$(mktemp -d)
mounted=''
trap '[ -z "$mounted" ] || umount "$folder/disk"; rm -rf "$folder"' EXIT
failed=0
awk() { LC_ALL=C command awk "$@"; } # it reads numbers as the locale writes them
export OMP_WAIT_POLICY=passive

fail() { echo "FAIL  crash: $*"; cat "$folder/err"; failed=1; }

head -c 20000 examples/data/pride_and_prejudice.txt >"$folder/text"
begin() { # folder; ends the shell
    exec "$lm" train "$folder/text" --out "$1" --batch 2 --context 16 --layers 1 --heads 2 --emb 16 --dropout 0.1 \
        --steps 3000 --report 100 --sample 130 --checkpoint 0.01 --patience 25 --threads $((1 + tries % 2))
}
tries=0
random() { # a number of seconds in 0 .. 0.5, another one for each try
    awk -v seed="$seed$tries" 'BEGIN { srand(seed); print 0.5 * rand() }'
}
begin_or_continue() { # folder
    if [ -e "$1/last.safetensors" ]; then
        exec "$lm" train --continue "$1" --threads $((1 + tries % 2))
    else
        rm -rf "$1"
        begin "$1"
    fi
}
loads() { # folder: a run that has begun has a checkpoint that loads
    [ ! -e "$1/last.safetensors" ] || "$lm" sample --model "$1/last.safetensors" --tokens 1 >/dev/null 2>"$folder/load"
}
same() { # folder
    for file in log.csv samples.txt config.json best.safetensors last.safetensors; do
        cmp "$folder/whole/$file" "$1/$file" || return 1
    done
}
# Begins or goes on, and stops at a random moment, until `wanted` runs were stopped; each run that comes to its end must
# be the whole one.
stop_runs() { # name, folder, number of stops, the exit statuses of a stopped run, then the command that stops it
    name=$1 run=$2 wanted=$3 statuses=$4
    shift 4
    rm -rf "$run"
    stops=0 ends=0
    while [ $stops -lt "$wanted" ] || [ $ends -eq 0 ]; do
        status=0 tries=$((tries + 1))
        begin_or_continue "$run" >"$folder/out" 2>"$folder/err" &
        process=$!
        if [ $stops -lt "$wanted" ]; then
            sleep "$(random)"
            "$@"
        fi
        wait $process 2>/dev/null || status=$?
        free_disk
        loads "$run" || { cat "$folder/load"; fail "$name: what is left does not load"; return; }
        if grep -q '^best ' "$folder/err"; then
            same "$run" || { fail "$name: another end"; return; }
            ends=$((ends + 1))
            rm -rf "$run"
        else
            case " $statuses " in *" $status "*) ;; *) fail "$name: exit status $status"; return ;; esac
            stops=$((stops + 1))
        fi
    done
    echo "ok    crash: $name: $stops stops, $ends ends like the run that never stopped"
}
free_disk() { rm -f "$folder/disk/filler"; }
signal() { kill -"$1" "$process" 2>/dev/null || true; } # name
fill_disk() { head -c 100000000 /dev/zero >"$folder/disk/filler" 2>/dev/null || true; }

(begin "$folder/whole") >/dev/null 2>"$folder/err" || fail "the whole run"
stop_runs 'kill -9' "$folder/killed" "$kills" '0 137' signal KILL
stop_runs 'SIGTERM' "$folder/stopped" "$terms" '0 143' signal TERM
mkdir "$folder/disk"
if mount -t tmpfs -o size=1m none "$folder/disk" 2>/dev/null; then
    mounted=yes
    stop_runs 'a full disk' "$folder/disk/run" "$disks" '1' fill_disk
else
    echo "skip  crash: a full disk: no tmpfs may be mounted"
fi

# What a log has behind its checkpoint, as when a kill comes between the two, is written anew.
: >"$folder/err"
until grep -q '^stopped' "$folder/err"; do
    rm -rf "$folder/later"
    begin "$folder/later" >"$folder/out" 2>"$folder/err" &
    process=$!
    while [ ! -e "$folder/later/best.safetensors" ]; do sleep 0.05; done
    signal TERM
    wait $process || true
done
yes '9999,9,9,9,9,9' | head -n 1000 >>"$folder/later/log.csv"
if "$lm" train --continue "$folder/later" >"$folder/out" 2>"$folder/err" && same "$folder/later"; then
    echo "ok    crash: rows behind the checkpoint are written anew"
else
    fail "rows behind the checkpoint"
fi

# A folder that is removed is made again: log and last checkpoint are whole.
begin "$folder/removed" >"$folder/out" 2>"$folder/err" &
process=$!
while [ ! -e "$folder/removed/best.safetensors" ]; do sleep 0.05; done
mv "$folder/removed" "$folder/elsewhere"
if wait $process && cmp "$folder/whole/log.csv" "$folder/removed/log.csv" &&
    cmp "$folder/whole/last.safetensors" "$folder/removed/last.safetensors"; then
    echo "ok    crash: a folder that was removed is made again"
else
    fail "a removed folder"
fi
exit $failed
