#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_examples.sh - runs the example programs about attention and gradients: key lines, exit statuses, pictures.
#
# usage: sh tests/check_examples.sh FOLDER    FOLDER holds the built programs. Run from the project's root.

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: sh tests/check_examples.sh FOLDER" >&2
    exit 2
fi
programs=$(cd "$1" && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
checks=0

fail() {
    echo "check_examples: $*" >&2
    failed=$((failed + 1))
}

# run STATUS PROGRAM ARG...: runs it into the files out and err, and wants that exit status.
run() {
    wanted=$1 command="${*}"
    program=$2
    shift 2
    checks=$((checks + 1))
    "$programs/$program" "$@" >out 2>err
    status=$?
    [ $status -eq "$wanted" ] || fail "$command: exit status $status, wanted $wanted: $(head -n 1 err)"
    if [ "$wanted" -eq 0 ] && [ -s err ]; then
        fail "$command: wrote to stderr: $(head -n 1 err)"
    fi
}

# has FILE PATTERN: a line of the file matches. lacks: none does.
has() {
    checks=$((checks + 1))
    grep -q -e "$2" "$1" || fail "$command: no line matches '$2'"
}
lacks() {
    checks=$((checks + 1))
    if grep -q -e "$2" "$1"; then
        fail "$command: a line matches '$2'"
    fi
}

# count FILE NUMBER PATTERN: so many lines match.
count() {
    checks=$((checks + 1))
    found=$(grep -c -e "$3" "$1")
    [ "$found" -eq "$2" ] || fail "$command: $found lines match '$3', wanted $2"
}

# One root element, as many tags closed as opened, no number that is not one.
svg() {
    checks=$((checks + 1))
    [ -f "$1" ] || { fail "$command: $1 was not written"; return; }
    awk '
        { text = text $0 "\n" }
        END {
            if (text !~ /^<svg [^>]*xmlns="http:\/\/www.w3.org\/2000\/svg"/ || text !~ /<\/svg>\n$/) exit 1
            if (text ~ /[^a-z](nan|inf)[^a-z]/) exit 1
            gsub(/<[^<>]*\/>/, "", text)
            opened = gsub(/<[a-zA-Z][^<>]*>/, "", text)
            closed = gsub(/<\/[a-zA-Z]+>/, "", text)
            exit opened != closed || text ~ /[<>]/ || text ~ /&[^a-z]/
        }' "$1" || fail "$command: $1 is not well-formed SVG"
}

for name in head_attention multi_head_attention attention_gradients gradcheck linear_regression; do
    run 0 $name --help
    has out "^usage: $name"
    run 2 $name --foo
    has err "^$name: unknown option '--foo'; try --help\$"
done

run 0 linear_regression
has out '^\[\[ *\(1\.9\|2\.0\)[0-9]* *-\(2\.9\|3\.0\)[0-9]*\]\]$'
has out '^\[0\.\(4[5-9]\|5\|5[0-4]\)[0-9]*\]$'

run 0 attention_gradients
has out '^PASS$'
lacks out FAIL
count out 9 '^d[A-Z][a-z]* .*e-[0-9][0-9]  *ok$'
has out 'exactly 0 in 6 of 6 places'
has out '^P .*1\.0000  *0  *0  *0$'
has out '^rows of dS sum to 0:.* ok$'
run 1 attention_gradients --mistake row-sum
has out '^FAIL$'
has out '^dS .*FAIL$'
has out '^rows of dS sum to 0:.*FAIL$'
run 1 attention_gradients --mistake scale
count out 5 '^d[A-Z][a-z]* .*e[+-][0-9][0-9]  *FAIL$'
run 1 attention_gradients --mistake transpose
has out '^dK .*FAIL$'
has out '^dQ .*ok$'
run 2 attention_gradients --mistake spelling
run 2 attention_gradients --seed
has err '^attention_gradients: --seed needs a value: N$'
run 2 attention_gradients --seed -1

run 0 head_attention
svg head_attention.svg
count head_attention.svg 36 '<rect .*</title></g>$'
count head_attention.svg 15 ': 0</title></g>$'
has out '^###\.\.\.$'
count out 2 'differs by at most .* ok$'
lacks out "$(printf '\033')"
cp out first
run 0 head_attention
cmp -s out first || fail "$command: two runs differ"
run 0 head_attention --seed=7 --text 'a<b & "c" a<b' --out other.svg
svg other.svg
has other.svg '>a&lt;b<'
run 1 head_attention --out no/such/folder.svg
has err 'can not write no/such/folder.svg: '
if [ -w /dev/full ]; then
    checks=$((checks + 1))
    "$programs/head_attention" >/dev/full 2>err && fail "head_attention >/dev/full: exit status 0"
    has err '^head_attention: can not write to stdout$'
fi
run 2 head_attention --text ' '
run 2 head_attention word
has err "unknown argument 'word'"

run 0 multi_head_attention
svg multi_head_attention.svg
svg bright_token.svg
has out 'to the last bit: PASS$'
has out '^    0  # \. \. \. \. \.$'
has out '^ 3 1\.00 1\.00 0\.00 0\.25 *$'
count out 2 '^ [01]  \.    \.    \.    \. *$'
run 0 multi_head_attention --non-causal --bright 5 --bright-out b5.svg
svg b5.svg
has out '^    0  # # # # # #$'
run 2 multi_head_attention --bright 6
has err 'positions are 0 to 5'
run 2 multi_head_attention --non-causal=yes

run 0 gradcheck --out u.svg
svg u.svg
count out 1 '^gradcheck softmax: PASS'
count out 1 '^gradcheck sumless_softmax: FAIL'
has out 'analytic .*numeric'
count out 1 '^verdict: INCONCLUSIVE$'
count out 1 '<- best of float32'
count out 1 '<- best of float64'

if [ $failed -ne 0 ]; then
    echo "check_examples: $failed of $checks checks failed" >&2
    exit 1
fi
echo "check_examples: $checks checks passed"
