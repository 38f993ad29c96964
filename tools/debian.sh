#!/bin/sh
# SPDX-License-Identifier: MIT
#
# debian.sh FOLDER VERSION - Debian packages in FOLDER/debian, from FOLDER/attngrad-VERSION.tar.gz of `make release`,
# with the tests (DEB_BUILD_OPTIONS=nocheck leaves them out); fails where lintian finds an error. For `make deb`.
set -eu

for program in dpkg-buildpackage dh lintian; do
    command -v $program >/dev/null 2>&1 || {
        echo "debian.sh: no $program here. As root, run: apt-get install dpkg-dev debhelper lintian" >&2
        exit 1
    }
done
sources=$(cd "$1" && pwd)/attngrad-$2.tar.gz
mkdir -p "$1/debian"
cd "$1/debian"
rm -rf -- *
cp "$sources" "attngrad_$2.orig.tar.gz"
tar xzf "$sources"
cd "attngrad-$2"
dpkg-buildpackage -us -uc
cd ..
lintian --fail-on error ./*.changes
ls -l ./*.deb ./*.dsc
