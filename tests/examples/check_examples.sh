#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_examples.sh - runs the example programs about attention and gradients: key lines, exit statuses, pictures.
#
# usage: sh tests/examples/check_examples.sh FOLDER    FOLDER holds the built programs. Run from the project's root.

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "usage: sh tests/examples/check_examples.sh FOLDER" >&2
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

for name in head_attention multi_head_attention attention_gradients gradcheck linear_regression check_kernel \
    explorer exercises; do
    run 0 $name --help
    has out "^usage: $name"
    run 2 $name --foo
    has err "^$name: unknown option '--foo'; try --help\$"
done

run 0 explorer --text 'one two' --size 2 --loss next --steps 2 --rate 0.5
has out '"losses": \[[0-9.]*,[0-9.]*\],'
has out '"dS": { "shape": \[1,2,2\], "values": \[0,-\{0,1\}0,'
run 0 explorer --loss square --steps 3 --rate 1e30
has out '"losses": \[[0-9.]*,null,null\],'
lacks out nan
run 2 explorer --heads 5
run 1 explorer --text one
has err "^explorer: --text is 'one', which is not two words or more"

run 0 check_kernel
has out '^gradcheck layernorm: PASS'
run 1 check_kernel --wrong
has out 'inp - mean(inp) in place of the normalised inp'

run 0 linear_regression
has out '^\[\[ *\(1\.9\|2\.0\)[0-9]* *-\(2\.9\|3\.0\)[0-9]*\]\]$'
has out '^\[0\.\(4[5-9]\|5\|5[0-4]\)[0-9]*\]$'

# One JSON value: strings and numbers are made V, then arrays and objects of them, until one V is left.
json() {
    checks=$((checks + 1))
    awk '
        { text = text $0 }
        END {
            gsub(/"([^"\\]|\\.)*"/, "S", text)
            gsub(/-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?|true|false|null/, "V", text)
            gsub(/[ \t]/, "", text)
            while (gsub(/\[([SV](,[SV])*)?\]|[{](S:[SV](,S:[SV])*)?[}]/, "V", text)) {}
            exit text != "V"
        }' "$1" || fail "$command: $1 is not JSON"
}

run 0 attention_gradients
has out '^PASS$'
lacks out FAIL
count out 9 '^d[A-Z][a-z]* .*e-[0-9][0-9]  *ok$'
has out 'exactly 0 in 6 of 6 places'
has out '^  the  *1\.0000  *0  *0  *0$'
has out '^  cat  *[-0-9.]*  *[-0-9.]*  *0  *0$'
has out '^row 0 of dS and dQ is 0: '
lacks out '[1-9][.0-9]*e+00'
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
run 0 attention_gradients --d 8 --text 'a b c d e f g h i j k l' --no-scale --seed 29
has out '^One causal head: T = 12, d = 8, a = 1, without 1/sqrt(d), = 1.0000'
has out '^  l .*[0-9]$'
run 0 attention_gradients --non-causal --d 1 --svg g --json g.json
lacks out '^row 0 of'
svg g-scores.svg
svg g-rows.svg
has g-rows.svg '>channel<'
has g-scores.svg 'stop-color="#1f4e9e"'
json g.json
has g.json '^"W.v.weight": {"shape": \[1,1\], "formula": "given",$'
run 0 attention_gradients --text 'я вижу кота' --d 2
has out '^  я   .\{18\}$'
run 0 attention_gradients --text 'the cat sat' --d 2 --seed 9
has out '^  sat   0\.3616  -0\.1685  -0\.1931$' # dS in lesson.md, which has the explorer's numbers
run 2 attention_gradients --seed
has err '^attention_gradients: --seed needs a value: N$'
run 2 attention_gradients --seed -1

run 0 head_attention --svg head
svg head-weights.svg
has head-weights.svg 'stop-color="#440154"'
count head-weights.svg 36 '<rect .*</title></g>$'
count head-weights.svg 15 ': 0</title></g>$'
has out '^###\.\.\.$'
count out 2 'differs by at most .* ok$'
lacks out "$(printf '\033')"
count out 7 '^[XWb][qkv]* = '
lacks out '[1-9][.0-9]*e+00'
cp out first
run 0 head_attention --svg head
cmp -s out first || fail "$command: two runs differ"
run 0 head_attention --seed=7 --text 'a<b & "c" a<b' --svg other --json other.json
svg other-weights.svg
json other.json
has other.json '^"W.q.bias": {"shape": \[4\], "formula": "given",$'
has other-weights.svg '>a&lt;b<'
run 0 head_attention --d 8 --no-scale --non-causal --text 'one two three'
has out '^T = 3 words, emb_size = 6, d = 8; a = 1, without 1/sqrt(d), = 1.0000$'
has out '^###$'
lacks out '^##\.$'
run 1 head_attention --svg no/such/folder
has err 'can not write no/such/folder-weights.svg: '
run 2 head_attention --heads 2
has err '^head_attention: --heads is 2, must be 1$'
run 2 head_attention --d 9
has err '^head_attention: --d is 9, must be 1 to 8$'
run 2 head_attention --text 'a b c d e f g h i j k l m'
has err '^head_attention: --text has more than 12 words$'
if [ -w /dev/full ]; then
    checks=$((checks + 1))
    "$programs/head_attention" >/dev/full 2>err && fail "head_attention >/dev/full: exit status 0"
    has err '^head_attention: can not write to stdout: No space left on device$'
fi
run 2 head_attention --text ' '
run 2 head_attention word
has err "unknown argument 'word'"

run 0 multi_head_attention --svg heads --json heads.json
svg heads-P.svg
svg heads-dS.svg
svg heads-bright.svg
json heads.json
has out '^Row 0 is 0 in every head'
has out '^the   \.     \.     \.     \.     \.     \.   '
has out 'to the last bit: PASS$'
has out '^    0  # \. \. \. \. \.$'
has out '^ 3 1\.00 1\.00 0\.00 0\.25 *$'
count out 2 '^ [01]  \.    \.    \.    \. *$'
run 0 multi_head_attention --non-causal --bright 5 --heads 3 --d 5 --no-scale --text word
has out '^T = 1 words, 3 heads of d = 5 channels, emb_size = 15$'
lacks out '^Row 0 is 0'
has out '^    0  # # # # # #$'
run 2 multi_head_attention --bright 6
has err '^multi_head_attention: --bright is 6, must be 0 to 5$'
run 2 multi_head_attention --non-causal=yes

# Wide enough for a terminal of 80 columns.
narrow() {
    checks=$((checks + 1))
    awk 'length > 80 { print FILENAME ": " $0; wide = 1 } END { exit wide }' "$1" >&2 || fail "$command: wider than 80"
}

run 0 gradcheck
has out '^layers: linear embedding layer_norm '
has out '^try  gradcheck mha softmax '
narrow out
run 0 gradcheck --list
has out '^layers$'
has out '^  mha  *multi-head attention'
has out '^ops$'
has out '^  sdpa  *softmax(q k^T'
narrow out
sed -n 's/^  \([a-z_]*\) .*/\1/p' out >names
subjects=$(grep -c . names)

run 0 gradcheck softmax mha/causal
count out 3 '^gradcheck [a-z/]*: PASS, [0-9]* derivatives, worst relative error [0-9.e-]*$'
count out 3 '^  by the complex step: worst relative error [0-9.e-]*$'
narrow out
run 0 gradcheck --all
while read -r name; do
    has out "^  $name  *[0-9]* .* PASS"
done <names
lacks out FAIL
lacks out INCONCLUSIVE
lacks out 'over 1e-08'
count out 1 '^  relu .*  -  *PASS, has kinks$'
count out 1 "^$subjects layers and ops, [0-9]* cases, [0-9]* derivatives: all pass\$"
narrow out
run 0 gradcheck --all --json --seed 3
json out
while read -r name; do
    has out "^{\"name\":\"$name/[a-z_]*\",\"verdict\":\"PASS\""
done <names
has out '^{"name":"gpt/tied by the complex step","verdict":"PASS"'
run 0 gradcheck --html page.html mha
has out '^the page: page.html$'
has page.html '^<!DOCTYPE html>'
has page.html '^</html>$'
has page.html 'mha/causal'

# planted KIND OP WORDS: the fault is found, in that op and by that cause.
planted_kinds=0
planted() {
    run 0 gradcheck --plant "$1" mha
    has out "^planted: $2 before input 0 of mha/causal;\$"
    has out '^gradcheck mha/causal: FAIL'
    has out "$2'* (node [0-9]*)"
    has out "^found: $2, $3\$"
    lacks out "$(printf '\033')"
    narrow out
    planted_kinds=$((planted_kinds + 1))
}
planted sign planted_sign 'sign flipped'
planted factor planted_factor 'constant factor'
has out '0\.4082'
planted twice planted_twice 'constant factor'
has out '= 2 times'
planted transpose planted_transpose transposed
planted permute planted_permute 'dims permuted'
planted row-sum planted_softmax 'row sum missing'
planted mean planted_layer_norm 'mean term missing'
planted variance planted_layer_norm 'variance term missing'
planted reduce planted_reduce 'broadcast not reduced'
planted ones planted_ones 'upstream ignored'
planted accumulate planted_accumulate 'not accumulated'
planted zero planted_zero zero
planted part-zero planted_part_zero zero
planted mask planted_mask 'mask leak'
planted batch planted_batch 'batch mixed'
planted strides planted_strides 'stride ignored'
planted tail planted_tail 'tail wrong'
planted swap planted_swap 'swapped inputs'
run 0 gradcheck --plant
count out $planted_kinds '^  [a-z-]*  *[a-z]'
narrow out
run 0 gradcheck --plant sign gpt
has out '^planted: planted_sign behind the result of gpt/tied;$'
has out '^found: planted_sign, sign flipped$'
run 0 gradcheck --plant accumulate gpt
has out '^found: planted_accumulate, not accumulated$'
run 0 gradcheck --plant sign mha --color always
has out "$(printf '\033')"
run 0 gradcheck --plant mask mha --html planted.html
has planted.html 'mask leak'
run 0 gradcheck --plant sign mha --json
json out
count out 1 '^\[$'
has out '"verdict":"FAIL"'
run 1 gradcheck --plant transpose sum
has out '^NOT FOUND: here the gradient is the same with the fault'
run 1 gradcheck --plant permute exp
has err "^gradcheck: exp has no tensor of the shape that 'permute' wants; try mha\$"

run 2 gradcheck sofmax
has err "^gradcheck: no layer or op 'sofmax'; did you mean softmax? --list shows all\$"
run 2 gradcheck mha/casual
has err "^gradcheck: mha has no case 'casual'; it has causal non_causal dropout grouped "
run 2 gradcheck --plant sing mha
has err "^gradcheck: no fault 'sing'; did you mean sign? --plant alone shows all\$"
run 2 gradcheck --plant sign
run 2 gradcheck --all mha
run 2 gradcheck --json
run 2 gradcheck --color blue mha
run 1 gradcheck --html no/such/page.html mha
has err '^gradcheck: can not write no/such/page.html: '
if [ -w /dev/full ]; then
    run 1 gradcheck --html /dev/full mha
    has err '^gradcheck: can not write /dev/full: '
fi
run 0 gradcheck --curve --out u.svg
svg u.svg
count out 1 '<- best of float32'
count out 1 '<- best of float64'
narrow out

if [ $failed -ne 0 ]; then
    echo "check_examples: $failed of $checks checks failed" >&2
    exit 1
fi
echo "check_examples: $checks checks passed"
