#!/usr/bin/env bash
# Runs the torture suite: torture.sh RBUILD [the suite's options ...]
#
# Without options it runs as root, and then what is about the sandbox as an ordinary user with
# subordinate ids. Prints the counts; fails only if a case listed in scripts/torture-required.txt
# does not pass. Without shared data there is nothing to do.
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
# The suite makes its own folders below one that every user can reach, and users have to reach the
# program too.
scratch=$(mktemp -d /var/tmp/rbuild-torture.XXXXXX)
chmod 755 "$scratch"
trap 'as_root rm -rf "$scratch"' EXIT
install -m 755 "$rbuild" "$scratch/rbuild"
failed=0

# run NAME [the suite's options ...]: leaves NAME.json and NAME.log.
run() {
  local name=$1
  shift
  rm -f "$work/$name.json"
  as_root env PATH="$PATH" timeout "${RBUILD_TORTURE_SECONDS:-900}" python3 "$suite" run --adapter rbuild \
    --bin "$scratch/rbuild" --json "$work/$name.json" --work "$scratch/$name" --jobs 2 --fast "$@" \
    > "$work/$name.log" 2>&1 || true
  tail -n 3 "$work/$name.log"
  echo "details: $work/$name.log"
  [ -s "$work/$name.json" ] || die "the torture suite did not come to its end"
}

# judge NAME MISSING: MISSING is the verdict of required cases that were not run.
judge() {
  local case verdict why
  while read -r case; do
    case $case in "" | "#"*) continue ;; esac
    verdict=$(jq -r --arg id "$case" '.cases[] | select(.id == $id) | .verdict' "$work/$1.json")
    case ${verdict:-$2} in
      pass | skip) ;;
      *)
        why=$(jq -r --arg id "$case" '.cases[] | select(.id == $id) | .why // ""' "$work/$1.json" | head -n 1)
        echo "must pass ($1): $case: ${verdict:-was not run}${why:+: $why}"
        failed=1
        ;;
    esac
  done < scripts/torture-required.txt
}

if [ $# -gt 0 ]; then
  run chosen "$@"
  judge chosen skip
  exit $failed
fi
run root
judge root missing
if id rbuild-sub > /dev/null 2>&1; then
  run user --user rbuild-sub --only 'sandbox/*,secret/*,mount/*,tar/layer-*,ctx/race-*'
  judge user skip
fi
exit $failed
