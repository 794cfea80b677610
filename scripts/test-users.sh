#!/usr/bin/env bash
# Makes the two ordinary users that the tests of rootless builds become: one with subordinate ids,
# one without. Needs root; may run again at any time.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

make_user() {
  id "$1" >/dev/null 2>&1 && return
  note "making the user $1"
  # No ids are handed out by useradd itself: which user gets some is decided below.
  as_root useradd --create-home --shell /bin/sh -K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 "$1"
}

# The first id past all ranges of a file, so that the new range overlaps none.
next_id() {
  awk -F: 'BEGIN { next_id = 100000 } $2 + $3 > next_id { next_id = $2 + $3 } END { print next_id }' "$1"
}

make_user rbuild-sub
make_user rbuild-nosub
for file in /etc/subuid /etc/subgid; do
  [ -e $file ] || as_root touch $file
  as_root sed -i '/^rbuild-nosub:/d' $file
  if ! grep -q '^rbuild-sub:' $file; then
    echo "rbuild-sub:$(next_id $file):65536" | as_root tee -a $file >/dev/null
  fi
done
