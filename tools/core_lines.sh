#!/bin/sh
# SPDX-License-Identifier: MIT
#
# core_lines.sh - prints the files and lines of each part of the core, headers included, and of each annex; runs in the
# project's root.
#
# A part is a line of the table: its name, + when it counts towards the aim, and the patterns of its files; ++ when it
# is one of those that the aim names, which are all but masks and modules. A file belongs to the first part that has a
# pattern for it. Exit status 1 when a file of the core is in no part.
set -eu

aim=6000
folders='tensor tensor/kernels autograd nn'
parts='
kernels         -  tensor/kernels/*
tensor          ++ tensor/*
tape            ++ autograd/autograd.h autograd/tape* autograd/leaf*
vjp_engine      ++ autograd/backward* autograd/vjp*
masks           +  autograd/mask*
ops             ++ autograd/op_* autograd/ops.*
nn.h            ++ nn/nn.h
modules         +  nn/module*
linear          ++ nn/linear* nn/layers_impl.h
head_attention  ++ nn/head_attention.c nn/attention*
mha             ++ nn/mha*
SGD             ++ nn/sgd.c nn/optimizer*
other_layers    -  nn/layers.h nn/embedding* nn/dropout* nn/norm* nn/layer_norm* nn/rms_norm* nn/feed_forward* nn/block*
other_training  -  nn/training.h nn/adamw* nn/clip* nn/schedule*'

sources() # of the folders, without those inside them
{
    find "$@" -maxdepth 1 -type f -name '*.[chid]*' | LC_ALL=C sort
}

part_of() # file
{
    echo "$parts" | while read -r part _ patterns; do
        for pattern in $patterns; do
            # The pattern is one.
            # shellcheck disable=SC2254
            case $1 in $pattern) echo "$part"; exit ;; esac
        done
    done
}

set -f
# Unquoted: words.
# shellcheck disable=SC2086
for file in $(sources $folders); do
    echo "$(part_of "$file")" "$(wc -l <"$file")" "$file"
done | awk -v parts="$parts" -v aim=$aim '
    BEGIN {
        count = split(parts, line, "\n")
        for (i = 1; i <= count; i++)
            if (split(line[i], word, " ") > 0) {
                name[++names] = word[1]
                counts[word[1]] = word[2]
            }
        printf "%-34s %5s %7s\n", "core", "files", "lines"
    }
    NF == 2 { print "core_lines.sh: no part has " $2 > "/dev/stderr"; wrong = 1; next }
    {
        files[$1]++; lines[$1] += $2; all_files++; all_lines += $2
        if (counts[$1] ~ "[+]") sum += $2
        if (counts[$1] == "++") named += $2
    }
    END {
        for (i = 1; i <= names; i++) {
            text = name[i]
            gsub("_", text == "head_attention" ? "_" : " ", text)
            printf "  %-32s %5d %7d%s\n", text, files[name[i]], lines[name[i]], counts[name[i]] ~ "[+]" ? " *" : ""
        }
        printf "  %-32s %5d %7d\n", "all", all_files, all_lines
        printf "  %-32s       %7d\n", "sum of *", sum
        printf "  %-32s       %7d   aim: under %d, %s\n", "the same without masks, modules", named, aim, \
               named < aim ? "met" : "missed by " (named - aim + 1)
        exit wrong
    }'
printf '%s\n' annexes
find tensor autograd nn -mindepth 1 -type d ! -name kernels | LC_ALL=C sort | while read -r folder; do
    files=$(sources "$folder")
    # shellcheck disable=SC2086
    printf '  %-32s %5d %7d\n' "$folder" "$(echo "$files" | wc -l)" "$(cat $files | wc -l)"
done
