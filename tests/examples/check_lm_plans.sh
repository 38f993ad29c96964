#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_plans.sh PROGRAM - what `lm` says and chooses: warnings of what the losses show, dropout.
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
exit $failed
