#!/usr/bin/env bash
# From a fresh clone to a built image: installs the packages that are missing, builds rbuild, makes a
# base image from this machine's busybox, and builds an example on it. Neither a registry nor a
# daemon is involved, and the build itself runs as you: only installing packages needs root.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_rust
need_packages ca-certificates gcc libc6-dev make busybox-static tar
# Without them rootless builds know a single user; with them, all.
want_packages uidmap

note "building rbuild"
cargo build --release --locked
rbuild=$(target_dir)/release/rbuild
allow_user_namespaces "$rbuild"

note "making a base image from this machine's busybox"
base=$(mktemp -d)
trap 'rm -rf "$base"' EXIT
scripts/make-base.sh "$base/busybox.tar"
"$rbuild" import --message "busybox of this machine" "$base/busybox.tar" busybox

note "rbuild -f examples/Dockerfiles/hello/Dockerfile -t hello:1.0 examples/Dockerfiles/hello"
"$rbuild" -f examples/Dockerfiles/hello/Dockerfile -t hello:1.0 examples/Dockerfiles/hello

note "rbuild images"
"$rbuild" images
note "rbuild history hello:1.0"
"$rbuild" history hello:1.0

cat >&2 <<E

rbuild is at $rbuild
Put it on your path (for example: sudo install $rbuild /usr/local/bin/), then:
  cd examples/Dockerfiles/web-app && rbuild -f Dockerfile.prod -t app:1.0 .
E
