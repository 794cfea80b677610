#!/usr/bin/env bash
# Runs fuzz targets, two at a time:
#
#   fuzz.sh fixed [TARGET ...]      what a test run does: from the seeds alone, as many inputs as
#                                   scripts/thresholds.sh says, the same ones each time
#   fuzz.sh [SECONDS [TARGET ...]]  a search: each target so long, on top of what earlier searches
#                                   found; with FUZZ_SEED=0 each search takes other inputs
#
# Needs the nightly toolchain, and nothing else: the flags below are what cargo-fuzz passes. What a
# search finds is kept below target/; a crash's input is printed and left in fuzz/artifacts/.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/thresholds.sh
. "$REPO/scripts/thresholds.sh"

# The order of files counts.
export LC_ALL=C
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

# Layers and stores are written to memory if there is such a place. The path counts, too: a fixed run
# has always the same, unless another one is under way.
if [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
scratch=${TMPDIR:-/tmp}/rbuild-fuzz.$(id -u)
[ "$seconds" != fixed ] || mkdir -m 700 "$scratch" 2>/dev/null || true
if [ "$seconds" = fixed ] && [ -O "$scratch" ] && [ ! -L "$scratch" ] && exec 9< "$scratch" && flock -n 9; then
  rm -rf "${scratch:?}"/*
else
  scratch=$(mktemp -d "$scratch.XXXXXX")
fi
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/tmp" "$scratch/found"
export TMPDIR=$scratch/tmp

# What a target tries next depends on what it did before, and that on where memory is, on random
# numbers and on the order in which threads run. A fixed run has all of it fixed, as far as this
# machine allows.
calm=()
is_ordered=
if [ "$seconds" = fixed ]; then
  if setarch -R true 2>/dev/null; then
    calm+=(setarch -R)
  else
    warn "addresses are random here: fixed runs may differ"
  fi
  if cc -O2 -shared -fPIC -o "$scratch/fixed_random.so" fuzz/fixed_random.c; then
    calm+=(env LD_PRELOAD="$scratch/fixed_random.so")
  else
    warn "no C compiler: fixed runs may differ"
  fi
  if unshare --pid --fork chrt --fifo 1 true 2>/dev/null; then
    is_ordered=1
  else
    warn "the order of threads cannot be fixed here: runs of ${FUZZ_THREADED[*]} may differ"
  fi
fi

# fuzz_one TARGET CPU
fuzz_one() {
  local target=$1 found=$WORK/fuzz/$1 log=$WORK/fuzz/$1.log options=() around=("${calm[@]}") status=0 seeds
  seeds=("fuzz/seeds/$target"/*)
  if [ "$seconds" = fixed ]; then
    found=$scratch/found/$target
    options=(-runs="${FUZZ_RUNS[$target]:-100000}" -max_total_time="$FUZZ_SECONDS" -seed=1 -reload=0
      -seed_inputs="$(IFS=, && echo "${seeds[*]}")")
    # Threads of which each runs until it waits, in a process of number 2, which is in names of files.
    if [ -n "$is_ordered" ] && [[ " ${FUZZ_THREADED[*]} " == *" $target "* ]]; then
      around+=(unshare --pid --fork --kill-child sh -c '"$@"; exit $?' sh
        chrt --fifo 1 taskset --cpu-list "$2")
    fi
  else
    options=("fuzz/seeds/$target" -max_total_time="$seconds" -seed="${FUZZ_SEED:-1}")
  fi
  [ ! -e "fuzz/dictionaries/$target.dict" ] || options+=("-dict=fuzz/dictionaries/$target.dict")
  mkdir -p "$found" "$WORK/fuzz" "fuzz/artifacts/$target"
  # An allocation that is too large fails at once.
  ulimit -v $((4 << 20))
  "${around[@]}" "$build/$host/release/$target" "$found" "${options[@]}" \
    -artifact_prefix="fuzz/artifacts/$target/" -timeout=10 -rss_limit_mb=2048 > "$log" 2>&1 || status=$?
  if [ "$status" = 0 ]; then
    echo "$(tail -n 1 "$log") of $target, $(find "$found" -type f -printf '%f\n' | sort | sha1sum | cut -c 1-8)"
    return
  fi
  { tail -n 40 "$log" && report "$target"; } > "$scratch/$target.failed"
  cat "$scratch/$target.failed"
  return 1
}

# What went wrong, and the input: lines that the summary of a test run repeats.
report() {
  local log=$WORK/fuzz/$1.log input
  input=$(sed -n 's/^artifact_prefix=.*Test unit written to //p' "$log" | tail -n 1)
  echo "FAILED fuzz target $1"
  grep -a -A 1 -E "panicked at |ERROR: libFuzzer" "$log" |
    grep -a -v -e '^--$' -e 'deadly signal' -e 'RUST_BACKTRACE' -e '^NOTE:' -e '^ *#' -e '^ *$' |
    head -n 6 | cut -c 1-400 | sed 's/^/  /'
  if [ ! -s "$input" ]; then
    echo "  no input was kept"
  elif [ "$(wc -c < "$input")" -le 4096 ]; then
    echo "  base64: $(base64 -w 0 "$input")"
  else
    echo "  base64 of gzip: $(gzip -9n < "$input" | base64 -w 0)"
  fi
}

# every_second FIRST CPU: runs the first target or the second, and of the rest every second one.
every_second() {
  local place failed=0
  for ((place = $1; place < ${#targets[@]}; place += 2)); do
    note "fuzzing ${targets[place]}"
    (fuzz_one "${targets[place]}" "$2") || failed=1
  done
  return $failed
}

cpus=$(taskset --cpu-list --pid $$ | sed 's/.*: //')
status=0
every_second 0 "${cpus%%[,-]*}" &
first=$!
every_second 1 "${cpus##*[,-]}" &
second=$!
wait $first || status=1
wait $second || status=1
exit $status
