# SPDX-License-Identifier: MIT
#
# checks.sh - sourced by scripts that check programs, with `subject` set: a folder that is gone at the end, a check that
# prints its line, and what the last program said. Such a script ends with `exit $failed`; with AG_FIRST=1 at the first
# failure. A program in the background is `process`, which ends with the script.
folder=$(mktemp -d)
case $folder in # words of options are split where they are used
*[[:space:]]*) rmdir "$folder" && folder=$(TMPDIR=/tmp mktemp -d) ;;
esac
process=''
trap '[ -z "$process" ] || kill -9 "$process" 2>/dev/null || :; rm -rf "$folder"' EXIT
failed=0
awk() { LC_ALL=C command awk "$@"; } # it reads numbers as the locale writes them

check() { # name, then a command that must succeed
    name=$1
    shift
    if "$@"; then echo "ok    $subject: $name"; else echo "FAIL  $subject: $name"; failed=1; fi
    [ -z "${AG_FIRST:-}" ] || [ $failed -eq 0 ] || exit 1
}
says() { # text: the last run's messages have it
    grep -qF -- "$1" "$folder/message" || { cat "$folder/message"; return 1; }
}
