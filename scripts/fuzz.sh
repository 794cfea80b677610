#!/usr/bin/env bash
# Runs every fuzz target for a while: fuzz.sh [SECONDS [TARGET ...]]
#
# Needs the nightly toolchain, and nothing else: the flags below are what cargo-fuzz passes. What the
# fuzzer finds is kept below target/ between runs; a crash's input is left in fuzz/artifacts/.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-30}
[ $# -eq 0 ] || shift
if ! cargo +nightly --version >/dev/null 2>&1; then
  warn "no nightly toolchain (rustup toolchain install nightly): nothing was fuzzed"
  exit 0
fi
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for file in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Zsanitizer=address \
-Cdebug-assertions -Coverflow-checks"
# libdeflate compiles one table several times; that is no bug of ours, nor of theirs.
# Leaks: a scoped thread may still be taking its own storage down when an input is done, which looks
# like one.
export ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0:${ASAN_OPTIONS:-}
build=${CARGO_TARGET_DIR:-$REPO/target}/fuzz
cargo +nightly build --quiet --manifest-path fuzz/Cargo.toml --release --target "$host" \
  --target-dir "$build"

status=0
for target in "${targets[@]}"; do
  note "fuzzing $target for $seconds s"
  found=$WORK/fuzz/$target
  mkdir -p "$found" "fuzz/artifacts/$target"
  dictionary=()
  [ ! -e "fuzz/dictionaries/$target.dict" ] || dictionary=("-dict=fuzz/dictionaries/$target.dict")
  if "$build/$host/release/$target" "$found" "fuzz/seeds/$target" \
    -artifact_prefix="fuzz/artifacts/$target/" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 "${dictionary[@]}" > "$found.log" 2>&1; then
    tail -n 1 "$found.log"
  else
    tail -n 40 "$found.log"
    status=1
  fi
done
exit $status
