# SPDX-License-Identifier: MIT
#
# format_tokens.awk - prints the words of a C source, one a line: line number, indentation, word. Two layouts of one
# source that differ in line breaks and alignment alone give the same words: a line that was broken inside parentheses
# or before -> is joined. Directives of the preprocessor are left out. The indentation is "-" unless the word begins a
# statement and its line.

function put()
{
    if (word != "")
        print at, indentation, word
    word = ""
}

directive || /^#/ { directive = /\\$/; next }
{
    match($0, /^ */)
    columns = RLENGTH
    for (i = 1; i <= NF; i++) {
        if (i == 1 && (word ~ /[(\[]$/ || $i ~ /^([)\]]|->|\.[a-z_]+[,;)])/)) {
            word = word $i
            continue
        }
        begins = i == 1 && word ~ /[;}]$/ && $i !~ /^[:?]/
        put()
        at = FNR
        indentation = begins ? columns : "-"
        word = $i
    }
}
END { put() }
