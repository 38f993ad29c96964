#!/bin/sh
# SPDX-License-Identifier: MIT
#
# join.sh LIBRARY.wasm - prints explorer.html: page.html with its parts, and the library compressed, in base64. Runs in
# the project's root.
set -eu

page=examples/explorer/page
library=$(mktemp)
trap 'rm -f "$library"' EXIT
gzip -9n <"$1" | base64 | tr -d '\n' >"$library"

while IFS= read -r line; do
    case $line in
    "'@library';")
        printf "'"
        cat "$library"
        printf "';\n"
        ;;
    @include\ *) cat "$page/${line#@include }" ;;
    *) printf '%s\n' "$line" ;;
    esac
done <"$page/page.html"
