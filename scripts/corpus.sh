#!/usr/bin/env bash
# Runs the shared conformance corpus: corpus.sh RBUILD [run.py's options ...]
#
# The stand-in base images are served from a registry on a free loopback port; every case builds in
# one store. The counts are printed, the failures listed by status, and the exit status is 1 if fewer
# cases pass than scripts/thresholds.sh wants. Without shared data there is nothing to do.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/thresholds.sh
. "$REPO/scripts/thresholds.sh"

[ $# -ge 1 ] || die "usage: corpus.sh RBUILD [run.py's options ...]"
rbuild=$(readlink -f "$1")
shift
shared=$(shared_dir)
if [ -z "$shared" ]; then
  warn "no shared corpus (set RBUILD_SHARED): nothing was run"
  exit 0
fi

work=$WORK/corpus
mkdir -p "$work"
store=$(mktemp -d "$work/store.XXXXXX")
stop() {
  stop_corpus_bases "$shared/corpus" "$work"
  rm -rf "$store" "$work/cases"
}
trap stop EXIT
serve_corpus_bases "$shared/corpus" "$work"

export RBUILD_ROOT=$store
list=(--list "$shared/corpus/shared.txt")
# Chosen cases replace the list, and are not held to the threshold.
for option in "$@"; do
  case $option in --case* | --grep* | --feature* | --origin*) list=() ;; esac
done
status=0
python3 "$shared/corpus/run.py" \
  --builder "$rbuild -f {dockerfile} -t {tag} {flags} --output type=oci,dest={oci_out} {context}" \
  --name rbuild --bases-dir "$work/bases" --golden "$shared/corpus/golden/buildkit" "${list[@]}" \
  --work "$work/cases" --http-port "$(free_port)" --jobs "${RBUILD_TEST_JOBS:-2}" \
  --out "$work/results.json" "$@" > "$work/log" 2>&1 || status=$?
tail -n 8 "$work/log"
[ -s "$work/results.json" ] || die "the corpus did not run: see $work/log"
echo "details: $work/log, $work/results.json"
[ ${#list[@]} -gt 0 ] || exit $status

passed=$(jq '.totals.ALL.pass' "$work/results.json")
total=$(jq '.cases | length' "$work/results.json")
echo "corpus: $passed of $total cases pass ($CORPUS_MIN_PASS must)"
[ "$passed" -ge "$CORPUS_MIN_PASS" ] && exit
jq -r '.cases | to_entries[] | select(.value.status | IN("pass", "skip") | not) | "case failed: \(.key)"' \
  "$work/results.json"
exit 1
