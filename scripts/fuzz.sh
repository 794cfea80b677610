#!/usr/bin/env bash
# Runs every fuzz target for a while, two at a time: fuzz.sh [SECONDS [TARGET ...]]
#
# On a new machine the same inputs are made in the same order each time; FUZZ_SEED=0 takes others.
# Needs the nightly toolchain, and nothing else: the flags below are what cargo-fuzz passes. What the
# fuzzer finds is kept below target/ between runs; a crash's input is left in fuzz/artifacts/.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

seconds=${1:-60}
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
# No sanitizer: what is fuzzed has no `unsafe`, and without one it is built and run twice as fast.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing"
build=${CARGO_TARGET_DIR:-$REPO/target}/fuzz
cargo +nightly build --quiet --manifest-path fuzz/Cargo.toml --release --target "$host" \
  --target-dir "$build"

# Layers and stores are written to memory if there is such a place.
if [ -w /dev/shm ]; then
  TMPDIR=$(mktemp -d /dev/shm/rbuild-fuzz.XXXXXX)
  export TMPDIR
  trap 'rm -rf "$TMPDIR"' EXIT
fi

fuzz_one() {
  local target=$1 found=$WORK/fuzz/$1 dictionary=()
  mkdir -p "$found" "fuzz/artifacts/$target"
  [ ! -e "fuzz/dictionaries/$target.dict" ] || dictionary=("-dict=fuzz/dictionaries/$target.dict")
  # An allocation that is too large fails at once.
  ulimit -v $((4 << 20))
  if "$build/$host/release/$target" "$found" "fuzz/seeds/$target" \
    -artifact_prefix="fuzz/artifacts/$target/" -max_total_time="$seconds" -timeout=10 \
    -seed="${FUZZ_SEED:-1}" \
    -rss_limit_mb=2048 "${dictionary[@]}" > "$found.log" 2>&1; then
    echo "$(tail -n 1 "$found.log") of $target"
  else
    tail -n 40 "$found.log"
    echo "FAILED $target"
    return 1
  fi
}

status=0
n_running=0
for target in "${targets[@]}"; do
  if [ $n_running -ge 2 ]; then
    wait -n || status=1
    n_running=$((n_running - 1))
  fi
  note "fuzzing $target for $seconds s"
  fuzz_one "$target" &
  n_running=$((n_running + 1))
done
for ((; n_running > 0; n_running--)); do wait -n || status=1; done
exit $status
