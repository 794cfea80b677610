# shellcheck shell=bash
# What the scripts in this folder share: messages, packages, ports, servers. Sourced, never run.
#
# Sourcing it turns on strict mode, moves to the repository's top and defines:
#   REPO    the top of the repository
#   WORK    scratch space below target/ that survives between runs (bases, logs)

set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
WORK=${RBUILD_TEST_WORK:-$REPO/target/house}
export DEBIAN_FRONTEND=noninteractive
PATH=$HOME/.cargo/bin:$PATH:/usr/local/sbin:/usr/sbin:/sbin
cd "$REPO"
# Tests compare modes of files.
umask 022

note() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif have sudo; then
    sudo -n true 2>/dev/null || note "sudo is needed for: $*"
    sudo "$@"
  else
    die "this needs root, and there is no sudo: $*"
  fi
}

# Tells whether a Debian package is installed.
installed() { dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed; }

# Installs the Debian packages among the arguments that are not there yet. Services are not started.
need_packages() {
  local missing=() package
  have apt-get || die "apt-get is needed (Debian or Ubuntu); elsewhere install by hand: $*"
  for package in "$@"; do
    installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  note "installing: ${missing[*]}"
  as_root apt-get update -q >&2
  # RUNLEVEL=1 keeps package scripts from starting daemons: rbuild needs none.
  as_root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
}

# The same, but a package that cannot be installed is only a warning: the tests that need it skip.
want_packages() {
  local package
  for package in "$@"; do
    installed "$package" || (need_packages "$package") || warn "$package cannot be installed"
  done
}

need_rust() {
  have cargo || die "cargo is needed: install Rust from https://rustup.rs, then run this again"
}

# Prints a TCP port of the loopback interface that is free now.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 20000))
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
}

# Prints the cargo target folder.
target_dir() { echo "${CARGO_TARGET_DIR:-$REPO/target}"; }

# Where user namespaces of ordinary users are reserved for named programs (Ubuntu 23.10 and later),
# names the given programs.
allow_user_namespaces() {
  local switch=/proc/sys/kernel/apparmor_restrict_unprivileged_userns program profile
  [ -r $switch ] && [ "$(cat $switch)" = 1 ] && have apparmor_parser || return 0
  for program in "$@"; do
    profile=/etc/apparmor.d/rbuild$(echo "$program" | tr -c 'a-zA-Z0-9\n' '-')
    [ -e "$profile" ] && continue
    note "allowing user namespaces to $program ($profile)"
    printf 'abi <abi/4.0>,\ninclude <tunables/global>\nprofile "%s" "%s" flags=(unconfined) {\n  userns,\n}\n' \
      "rbuild $program" "$program" | as_root tee "$profile" >/dev/null
    as_root apparmor_parser -r "$profile"
  done
}

# Serves the stand-in base images of the shared corpus at $1 from a registry on a free loopback port
# until the script ends. $2 is a folder of the script's own; its `bases` stay there. Sets
# CONTAINERS_REGISTRIES_CONF.
serve_corpus_bases() {
  local corpus=$1 work=$2 port base
  port=$(free_port)
  rm -rf "$work/registry"
  mkdir -p "$work/bases"
  # The recorded results refer to the archives that come with the corpus.
  for base in busybox alpine debian; do
    [ -e "$work/bases/$base.tar" ] || install -m 644 "$corpus/bases/$base.tar" "$work/bases/"
  done
  bash "$corpus/make-bases.sh" --port "$port" --out "$work/bases" --state "$work/registry" \
    > "$work/make-bases.log"
  export CONTAINERS_REGISTRIES_CONF=$work/registry/registries.conf
}

# Stops what serve_corpus_bases started.
stop_corpus_bases() {
  bash "$1/make-bases.sh" --state "$2/registry" --stop
  rm -rf "$2/registry"
}

# Finds the shared conformance data: $RBUILD_SHARED, else a folder `shared` beside the repository.
# Prints its path, or nothing.
shared_dir() {
  local dir=${RBUILD_SHARED:-$REPO/../shared}
  if [ -d "$dir/corpus" ]; then (cd "$dir" && pwd -P); fi
}
