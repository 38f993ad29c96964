#!/bin/sh
# SPDX-License-Identifier: MIT
#
# install_check.sh [FLAGS] - finds Check (https://libcheck.github.io/check), the tests' only dependency, and installs
# it by the system's package manager when it is missing.
#
# Found means that a program that uses it compiles and links with $CC. What it takes goes to the file FLAGS, when
# given, on one line. Where Check can not be installed, the command that would is printed; exit status 1.
set -eu

flags=${1:-}
cc=${CC:-cc}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
printf '#include <check.h>\nint main(void)\n{\n    return srunner_create(suite_create("s")) == 0;\n}\n' >"$folder/t.c"

# The flags that pkg-config knows; else those of the systems we know, with and without subunit.
find_check()
{
    known=''
    if command -v pkg-config >/dev/null 2>&1; then
        known=$(pkg-config --cflags --libs check 2>/dev/null) || known=''
    fi
    brew=''
    if command -v brew >/dev/null 2>&1; then
        brew="-I$(brew --prefix)/include -L$(brew --prefix)/lib"
    fi
    for try in "$known" '-lcheck -lsubunit -lrt -lm -pthread' '-lcheck -lrt -lm -pthread' \
        "$brew -lcheck -lm -pthread"; do
        # Unquoted: words.
        # shellcheck disable=SC2086
        if [ -n "$try" ] && $cc "$folder/t.c" -o "$folder/t" $try >"$folder/log" 2>&1; then
            if [ -n "$flags" ]; then
                mkdir -p "$(dirname "$flags")"
                echo "$try" >"$flags"
            fi
            return 0
        fi
    done
    return 1
}

package_command()
{
    if command -v apt-get >/dev/null 2>&1; then
        echo 'apt-get install -y --no-install-recommends check'
    elif command -v dnf >/dev/null 2>&1; then
        echo 'dnf install -y check-devel'
    elif command -v apk >/dev/null 2>&1; then
        echo 'apk add check-dev'
    elif command -v pacman >/dev/null 2>&1; then
        echo 'pacman -S --noconfirm check'
    elif command -v brew >/dev/null 2>&1; then
        echo 'brew install check'
    fi
}

find_check && exit 0

command -v "${cc%% *}" >/dev/null 2>&1 || {
    echo "install_check.sh: there is no C compiler '$cc'" >&2
    exit 1
}
install=$(package_command)
if [ -z "$install" ]; then
    echo 'The tests need Check, and no package manager that this script knows is here.' >&2
    echo 'Install it from https://libcheck.github.io/check and run make test again.' >&2
    exit 1
fi

as=''
case $install in
brew*) ;;
*)
    if [ "$(id -u)" -ne 0 ]; then
        if command -v sudo >/dev/null 2>&1; then
            as='sudo '
        else
            echo "The tests need Check. As root, run: $install" >&2
            exit 1
        fi
    fi
    ;;
esac

echo "The tests need Check, which is not installed. Running: $as$install"
export DEBIAN_FRONTEND=noninteractive
if ! $as$install; then
    case $install in
    apt-get*) # the package lists may be missing or old
        $as apt-get update && $as$install || true
        ;;
    esac
fi
find_check && exit 0
echo "Check could not be installed. Run: $as$install" >&2
cat "$folder/log" >&2
exit 1
