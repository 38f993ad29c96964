#!/bin/sh
# SPDX-License-Identifier: MIT
#
# check_explorer.sh PAGE FOLDER - explorer.html at work in headless Chromium ($CHROMIUM), against the programs explorer
# and attention_gradients in FOLDER; `make check-explorer` calls this. Skipped where Chromium or Node is missing.
set -eu

page=$1
programs=$2
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
export CHROMIUM
if [ -z "$CHROMIUM" ] || ! command -v node >/dev/null 2>&1; then
    echo 'check_explorer.sh: Chromium or Node is missing: skipped'
    exit 0
fi

size=$(wc -c <"$page")
if [ "$size" -gt 500000 ]; then
    echo "check_explorer.sh: $page has $size bytes, more than 500000" >&2
    exit 1
fi
if grep -n -i -E '(src|href)="?(https?:)?//|@import|fetch\(|XMLHttpRequest' "$page"; then
    echo "check_explorer.sh: $page asks for something outside" >&2
    exit 1
fi
node --no-warnings tests/examples/check_explorer.mjs "$page" "$programs"
