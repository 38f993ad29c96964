#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_format.sh [FILE...]        - checks the layout of the files, or of the whole tree; runs in the project's root.
# check_format.sh --fix [FILE...]  - lets clang-format rewrite the lines of these C files that differ from the last
#                                    commit, or of all that differ.
#
# For every text file: no tab (but in Makefile), no blank at the end of a line, no carriage return, a newline at the
# end; of code also the SPDX line in the first three lines and at most 120 columns (but in mutants.def). For C: a
# function's { stands on a line of its own, any other { does not. Where clang-format is installed, every .c and .h file
# must have the spaces and the indentation that .clang-format asks for; line breaks and alignment are the author's.
# Prints each violation as file:line: text; exit status 1 when there is one.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

text_files()
{
    find Makefile README.md CONTRIBUTING.md CHANGELOG.md .ci .clang-format .editorconfig attngrad.h tensor autograd nn \
        examples tests bench tools docs -type f ! -path '*/data/*' ! -path 'tests/fixtures/pretrained/*' \
        ! -path '*/__pycache__/*' ! -name '*.safetensors' ! -name '*.svg' ! -name '*.png' ! -name '*.json' |
        LC_ALL=C sort
}

check_plain() # files
{
    LC_ALL=C awk '
    function fault(line, text) { print FILENAME ":" line ": " text; wrong = 1 }
    function columns(text) { gsub(/[\200-\277]/, "", text); return length(text) } # characters of UTF-8
    FNR == 1 { code = FILENAME ~ /\.([ch]|inc|def|sh|awk|py)$/; c = FILENAME ~ /\.([ch]|inc)$/; spdx = 0; above = "" }
    FNR <= 3 && /SPDX-License-Identifier: MIT/ { spdx = 1 }
    FNR == 3 && code && !spdx { fault(1, "no line SPDX-License-Identifier: MIT") }
    /\t/ && FILENAME !~ /Makefile$/ { fault(FNR, "a tab") }
    /\r/ { fault(FNR, "a carriage return") }
    /[ \t]$/ { fault(FNR, "a blank at the end") }
    code && FILENAME != "tests/mutants.def" && columns($0) > 120 { fault(FNR, columns($0) " columns, more than 120") }
    c && /^[^ \/*#].*\) {$/ && above !~ /\\$/ && !/^(struct|union|enum|typedef|extern|static const|const)/ && !/=/ {
        fault(FNR, "the { of a function must stand on a line of its own")
    }
    c && /^ +{$/ && above !~ /^ *#/ { fault(FNR, "this { must stand at the end of the line before") }
    c && /^ +else/ && above ~ /^ +}$/ { fault(FNR, "else must stand behind the }") }
    { above = $0 }
    END { exit wrong }' "$@" || failed=1
    for file in "$@"; do
        [ -z "$(tail -c 1 "$file")" ] || { echo "$file: no newline at the end"; failed=1; }
    done
}

check_with_clang_format() # files
{
    for file in "$@"; do
        case $file in *.[ch]) ;; *) continue ;; esac
        clang-format "$file" | awk -f tools/format_tokens.awk >"$folder/want"
        awk -f tools/format_tokens.awk "$file" | awk -v file="$file" -v wants="$folder/want" '
            {
                got = (getline want < wants) > 0
                split(want, w, " ")
                if (!got || $3 != w[3]) text = "spaces: clang-format wants \"" w[3] "\" and not \"" $3 "\""
                else if ($2 != w[2] && $2 != "-" && w[2] != "-") text = "must be indented by " w[2] " and not " $2
                else next
                print file ":" $1 ": " text
                exit 1
            }' || failed=1
    done
}

fix() # files, or none: all
{
    git diff -U0 --no-color HEAD -- "$@" | awk '
        /^\+\+\+ / { file = substr($2, 3) }
        /^@@/ && file ~ /\.[ch]$/ {
            split($3, range, ",")
            first = substr(range[1], 2)
            lines = $3 ~ /,/ ? range[2] : 1
            if (lines > 0) print file, first ":" first + lines - 1
        }' | while read -r file lines; do
        echo "$file $lines"
        echo "$file" >>"$folder/files"
        echo "--lines=$lines" >>"$folder/$(echo "$file" | tr / :)"
    done
    [ -f "$folder/files" ] || return 0
    sort -u "$folder/files" | while read -r file; do
        xargs clang-format -i "$file" <"$folder/$(echo "$file" | tr / :)"
    done
}

if [ "${1:-}" = --fix ]; then
    shift
    command -v clang-format >/dev/null 2>&1 || { echo 'check_format.sh: clang-format is not installed' >&2; exit 1; }
    fix "$@"
    exit
fi
failed=0
# Unquoted: words.
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(text_files)
check_plain "$@"
if command -v clang-format >/dev/null 2>&1; then
    check_with_clang_format "$@"
else
    echo 'format: clang-format is not installed, spaces and indentation are not checked'
fi
[ $failed -ne 0 ] || echo "format: $# files: ok"
exit $failed
