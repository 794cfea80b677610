#!/usr/bin/env bash
# Runs the torture suite: torture.sh RBUILD [the suite's options ...]
#
# Prints the counts; fails only if a case listed in scripts/torture-required.txt does not pass.
# Without shared data there is nothing to do.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -ge 1 ] || die "usage: torture.sh RBUILD [the suite's options ...]"
rbuild=$(readlink -f "$1")
shift
suite=${RBUILD_SHARED:-$REPO/../shared}/torture/torture.py
if [ ! -e "$suite" ]; then
  warn "no torture suite (set RBUILD_SHARED): nothing was run"
  exit 0
fi

work=$WORK/torture
mkdir -p "$work"
rm -f "$work/results.json"
# The suite makes its own folders below one that every user can reach.
scratch=$(mktemp -d /var/tmp/rbuild-torture.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
as_root env PATH="$PATH" timeout "${RBUILD_TORTURE_SECONDS:-900}" python3 "$suite" run --adapter rbuild \
  --bin "$rbuild" --json "$work/results.json" --work "$scratch" --jobs 2 --fast "$@" \
  > "$work/log" 2>&1 || true
tail -n 3 "$work/log"
echo "details: $work/log"
[ -s "$work/results.json" ] || die "the torture suite did not come to its end"

failed=0
while read -r name; do
  case $name in "" | "#"*) continue ;; esac
  verdict=$(jq -r --arg id "$name" '.cases[] | select(.id == $id) | .verdict' "$work/results.json")
  case $verdict in
    pass | skip) ;;
    *)
      echo "must pass: $name: ${verdict:-was not run}"
      failed=1
      ;;
  esac
done < scripts/torture-required.txt
exit $failed
