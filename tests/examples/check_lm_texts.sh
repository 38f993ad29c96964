#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_lm_texts.sh PROGRAM - the texts that `lm` trains on: characters, bytes, byte pairs, windows, folders, standard
#     input; and those that it refuses before training, in one line that says what to do.
set -eu
. tests/examples/lm_checks.sh

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
check "byte pairs: a resumed run ends with the same model" cmp "$folder/pairs/last.safetensors" \
    "$folder/pairs-half/last.safetensors"
check "as many as were asked for" grep -qx 'vocab     400' "$folder/pairs.err"
check "the loss is said per character and byte too" grep -q \
    'nats per token, [0-9.]* per character, [0-9.]* bits per byte' "$folder/pairs.err"
check "a prompt of any bytes begins the text" sh -c '[ "$("$0" sample --model "$1" --tokens 3 \
    --prompt "€ 日本 $(printf "\\001")" | head -c 11)" = "€ 日本 " ]' "$lm" "$folder/pairs/best.safetensors"
{ yes 'a few words' | head -c 9000; yes 'xyz' | head -c 1000; } >"$folder/halves.txt"
"$lm" train "$folder/halves.txt" --vocab 400 --context 8 --layers 1 --heads 1 --emb 8 --dry-run >"$folder/message" 2>&1
check "pairs are not learned from the tenth for validation" awk \
    '/^text/ { tokens = $(NF - 1) } END { exit tokens < 3900 }' "$folder/message"
check "too few tokens" refused 2 '--vocab is 256, must be 257 to 65536' train --vocab 256
printf 'Ein anderer Text, ein anderer Text, ein anderer Text. %.0s' 1 2 3 4 5 6 7 8 >"$folder/other.txt"
check "a model goes on with another text" quiet "$lm" train "$folder/other.txt" --steps 2 --sample 0 --batch 2 \
    --from "$folder/pairs/best.safetensors" --out "$folder/another"
check "with its own tokens" grep -qx 'vocab     400' "$folder/message"
train one --steps 4 --level char
check "which must have the text's characters" refused 1 "the text has the character 'с' (U+0441)" train \
    "$folder/bytes.txt" --from "$folder/one" --out "$folder/none"

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
    quiet "$lm" train "$folder/long.txt" --val "$folder/long.txt" --level char --batch 8 --context 256 --layers 1 \
        --heads 1 --emb 8 --steps 1 --sample 0 --out "$folder/long$1"
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
exit $failed
