#!/usr/bin/env bash
# Builds the shared corpus with rbuild and with Debian's buildah: differential.sh RBUILD [CASE ...]
#
# The images are compared field by field: every file with its mode, owner, size, content, link target
# and attributes, and every field of the config. Cases that differ are listed with the reason in
# scripts/differential-known.txt; the exit status is 1 if another case differs, or if a listed one no
# longer does. Needs root, for buildah's sake. Without shared data there is nothing to do.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -ge 1 ] || die "usage: differential.sh RBUILD [CASE ...]"
rbuild=$(readlink -f "$1")
shift
shared=$(shared_dir)
if [ -z "$shared" ]; then
  warn "no shared corpus (set RBUILD_SHARED): nothing was compared"
  exit 0
fi
have buildah || die "buildah is needed: scripts/test.sh packages"
if [ "$(id -u)" != 0 ]; then
  as_root env PATH="$PATH" RBUILD_SHARED="$shared" RBUILD_TEST_WORK="$WORK" "$REPO/scripts/differential.sh" \
    "$rbuild" "$@"
  exit
fi
known=$REPO/scripts/differential-known.txt
# The list is about one version: others have other faults.
version=$(sed -n 's/^# buildah //p' "$known")
found=$(buildah --version | awk '{ print $3 }')

work=$WORK/differential
mkdir -p "$work"
# Overlays want a disk of their own, which the repository may not lie on.
scratch=$(mktemp -d /var/tmp/rbuild-differential.XXXXXX)
export BUILDAH_ROOT=$scratch/buildah BUILDAH_ISO=chroot BUILDAH_DRIVER=overlay RBUILD_ROOT=$scratch/rbuild
storage() { buildah --root "$BUILDAH_ROOT/root" --runroot "$BUILDAH_ROOT/run" --storage-driver "$@"; }
storage overlay images > "$work/overlay.log" 2>&1 || BUILDAH_DRIVER=vfs
stop() {
  stop_corpus_bases "$shared/corpus" "$work"
  # Only buildah knows what it left mounted.
  storage "$BUILDAH_DRIVER" rm --all > /dev/null 2>&1 || true
  umount "$BUILDAH_ROOT/root/overlay" 2>/dev/null || true
  rm -rf "$scratch"
}
trap stop EXIT
serve_corpus_bases "$shared/corpus" "$work"

chosen=(--list "$shared/corpus/shared.txt")
[ $# -eq 0 ] || chosen=("${@/#/--case=}")

# compare NAME OPTION...: compares cases; what comes out is in NAME.json. In namespaces, because what a RUN leaves
# running goes on with buildah. The exit status says that cases differ, which is what the list is for.
compare() {
  local name=$1
  shift
  unshare --mount --pid --fork --kill-child --mount-proc python3 "$shared/corpus/run.py" \
    --builder "$rbuild -f {dockerfile} -t {tag} {flags} --output type=oci,dest={oci_out} {context}" \
    --name rbuild --oracle-preset buildah --bases-dir "$work/bases" "$@" \
    --work "$scratch/$name" --http-port "$(free_port)" --jobs "${RBUILD_TEST_JOBS:-2}" \
    --out "$work/$name.json" > "$work/$name.log" 2>&1 || true
  [ -s "$work/$name.json" ] || die "nothing was compared: see $work/$name.log"
}

cases() { jq -r ".cases | to_entries[] | select(.value.status $1) | .key" "$work/results.json" | sort; }
# Sets what is not as it is listed.
judge() {
  cases '| IN("fail", "known-diff", "error")' > "$work/different"
  cases '!= "skip"' > "$work/compared"
  grep -v '^#' "$known" | awk '{ print $1 }' | sort | comm -12 - "$work/compared" > "$work/listed"
  unlisted=$(comm -23 "$work/different" "$work/listed")
  gone=$(comm -13 "$work/different" "$work/listed")
}

compare results "${chosen[@]}"
tail -n 8 "$work/results.log"
echo "details: $work/results.log, $work/results.json"
judge
if [ -n "$unlisted$gone" ]; then
  # buildah fails now and then when the machine is busy.
  again=()
  for id in $unlisted $gone; do
    echo "not as listed, compared again: $id"
    again+=("--case=$id")
  done
  compare again "${again[@]}"
  jq -s '.[0] * { cases: .[1].cases }' "$work/results.json" "$work/again.json" > "$work/both.json"
  mv "$work/both.json" "$work/results.json"
  judge
fi
echo "corpus: $(wc -l < "$work/compared") cases compared, $(wc -l < "$work/different") differ," \
  "$(comm -12 "$work/different" "$work/listed" | wc -l) of them as listed"
for id in $unlisted; do echo "differs and is not listed: $id"; done
for id in $gone; do echo "is listed and does not differ: $id"; done
if [ "$found" != "$version" ]; then
  warn "the list is about buildah $version, this is $found: differences are not held against it"
  exit 0
fi
[ -z "$unlisted$gone" ]
