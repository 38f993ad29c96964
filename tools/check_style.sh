#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_style.sh [RULE...] - checks rules of CONTRIBUTING.md; runs in the project's root.
#
#   parameters   no function has more than 8 parameters
#   functions    no function has more than 60 lines
#   files        no file has more than 700 lines; tables (.def, .md, data) may
#   names        no two .c files of the library define the same static function, static object, type, macro or constant
#   numbers      no printf or error with a floating-point conversion and no strtod, whose decimal point is the locale's,
#                outside tensor/ctx.c, tensor/text.c and tensor/files/numbers.c: ag_printf, ag_number_text, ag_strtod;
#                no setlocale outside the tests
#   words        one word for one thing: observed and not watched, epilogue and not finish
#
# Without arguments: all of these. Prints each violation as file:line: text; exit status 1 when there is one.
set -eu

sources() # folders
{
    find "$@" -type f -name '*.[chi]*' ! -path '*/data/*' ! -path '*/fixtures/*' | LC_ALL=C sort
}

# For every function definition: "file line lines parameters name". A definition begins in column 1; so does its {,
# which stands alone or, where the body is one line, ends the head; so does its }.
definitions()
{
    sources "$@" | xargs awk '
    function parameters(head,    i, c, depth, count, text) { # of the last (...) outside of others
        for (i = 1; i <= length(head); i++) {
            c = substr(head, i, 1)
            if (c == "(" && depth++ == 0) { count = 1; text = "" }
            else if (c == ")") depth--
            else if (c == "," && depth == 1) count++
            else if (depth > 0) text = text c
        }
        return text == "void" || text == "" ? 0 : count
    }
    function name(head) { # FN(name)(..) and name(..)
        sub(/^[^(]*[ *]FN\(/, "", head)
        sub(/[()].*/, "", head)
        sub(/.*[ *]/, "", head)
        return head
    }
    function found(lines) {
        print FILENAME, start, lines, parameters(head), name(head)
    }
    FNR == 1 { head = ""; body = 0; skip = 0; comment = 0 }
    body { if (/^}/) { found(FNR - start + 1); body = 0; head = "" } next }
    skip || /^#/ { skip = /\\$/; head = ""; next } # a macro
    { gsub(/\/\*[^*]*\*\//, "") }
    comment { if (/\*\//) comment = 0; next }
    /^\/\*/ { comment = !/\*\//; next }
    head == "" && /^[A-Za-z_]/ { start = FNR }
    head == "" && !/^[A-Za-z_]/ { next }
    /^{$/ && head ~ /\)[ ]*$/ { body = 1; next }
    { head = head " " $0; sub(/^ +/, "", head) }
    head ~ /\) *{ .*}$/ { sub(/{.*/, "", head); found(FNR - start + 1); head = ""; next }
    head ~ /[;}{][ ]*$/ || NF == 0 { head = "" }'
}

check_parameters()
{
    definitions tensor autograd nn examples tests bench |
        awk '$4 > 8 { print $1 ":" $2 ": " $5 " has " $4 " parameters, more than 8" }'
}

check_functions()
{
    definitions tensor autograd nn examples tests bench |
        awk '$3 > 60 { print $1 ":" $2 ": " $5 " has " $3 " lines, more than 60" }'
}

check_files()
{
    find Makefile attngrad.h .ci tensor autograd nn examples tests bench tools -type f ! -path '*/data/*' \
        ! -path '*/fixtures/*' ! -name '*.def' ! -name '*.md' ! -name '*.pyc' -exec \
        awk 'FNR == 701 { print FILENAME ":701: more than 700 lines" }' {} +
}

# "name file line" of what a .c file defines for itself.
private_names()
{
    find tensor autograd nn -name '*.c' | LC_ALL=C sort | xargs awk '
    function macros(    text) { for (text in macro) { print text, macro[text]; delete macro[text] } }
    FNR == 1 { macros(); type = enumeration = 0 }
    END { macros() }
    function put_last_word(text) { sub(/.*[ *}]/, "", text); print text, FILENAME, FNR }
    /^static .*[a-z0-9_]+\(/ && !/;$/ && !/=/ { text = $0; sub(/\(.*/, "", text); put_last_word(text) }
    /^static [^(]*(=|;$|\[)/ { text = $0; sub(/ *(\[|=|;).*/, "", text); put_last_word(text) }
    /^#define / { text = $2; sub(/\(.*/, "", text); macro[text] = FILENAME " " FNR; last = text }
    /^#undef / { delete macro[$2] }
    /^#include ".*[.]def"/ { delete macro[last] } # the list undefines it
    /^typedef / { type = 1 }
    type && /^} *[a-z_0-9]+;/ || /^typedef [^({]*;$/ { text = $0; sub(/;.*/, "", text); put_last_word(text) }
    /^}/ || /;$/ && !/^ / { type = 0 }
    /^(typedef )?enum [a-z_]* *{/ { enumeration = 1; sub(/^(typedef )?enum [^{]*{/, "") }
    enumeration {
        text = $0
        closed = text ~ /}/
        gsub(/\/\*.*\*\/|}.*/, "", text)
        count = split(text, part, ",")
        for (i = 1; i <= count; i++)
            if (part[i] ~ /^ *[A-Z][A-Z0-9_]*( *=.*)? *$/) {
                sub(/ *=.*/, "", part[i])
                sub(/^ */, "", part[i])
                print part[i], FILENAME, FNR
            }
        enumeration = !closed
    }'
}

check_names()
{
    private_names | awk '
        { if (($1, $2) in seen) next; seen[$1, $2]; count[$1]++; places[$1] = places[$1] " " $2 ":" $3 }
        END { for (name in count) if (count[name] > 1) {
            split(places[name], place, " ")
            print place[1] ": " name " is defined " count[name] " times:" places[name]
        } }' | LC_ALL=C sort
}

check_numbers()
{
    sources tensor autograd nn examples bench |
        grep -vx -e tensor/ctx.c -e tensor/text.c -e tensor/files/numbers.c | xargs awk '
    function report(text) { print FILENAME ":" start ": " text }
    FNR == 1 { call = "" }
    /(^|[^a-z_])(strtod|strtof|strtold|atof|v?f?s?scanf|setlocale|vf?printf|vsn?printf)\(/ && !/__attribute__|define/ {
        start = FNR
        report("depends on the locale: use ag_strtod, ag_printf and their like")
    }
    call == "" && /(^|[^a-z_])(f|sn?)?printf\(|_fail\(/ && !/__attribute__|define/ { start = FNR; call = " " }
    call != "" { call = call $0 }
    call != "" && /;$|[)] *{?$/ {
        gsub(/%%/, "", call)
        if (call ~ /%[-+ #0-9.*]*[aefgAEFG]/)
            report("a number in the format of printf: use ag_printf, ag_number_text")
        call = ""
    }'
}

check_words()
{
    grep -rnEw --include='*.[chid]*' --include='*.md' --include='*.sh' --include='*.awk' \
        '(un)?watched|(ag_)?finish(_[a-z]*)?|[a-z_]*_finish' attngrad.h tensor autograd nn examples tests bench docs \
        README.md CONTRIBUTING.md |
        sed 's/^\([^:]*:[0-9]*\):.*[^a-z_]\(\(un\)\{0,1\}watched\)[^a-z_].*/\1: says \2, must be observed/
             s/^\([^:]*:[0-9]*\):.*\(finish\).*/\1: says finish, must be epilogue where it means one/' || true
}

[ $# -gt 0 ] || set -- parameters functions files names numbers words
failed=0
for rule in "$@"; do
    violations=$("check_$rule")
    if [ -z "$violations" ]; then
        echo "style: $rule: ok"
    else
        echo "$violations"
        echo "style: $rule: $(echo "$violations" | wc -l) violations"
        failed=1
    fi
done
exit $failed
