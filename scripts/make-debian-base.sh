#!/usr/bin/env bash
# Makes a minimal Debian 12 root file system: make-debian-base.sh OUT.tar
#
# Packages come from the mirror that this machine's apt uses ($RBUILD_DEBIAN_MIRROR overrides it),
# and the base keeps that mirror and the machine's apt proxies, so that `apt-get` works in a RUN
# wherever it works here. Documentation and translations are left out.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 1 ] || die "usage: make-debian-base.sh OUT.tar"
case $1 in /*) out=$1 ;; *) out=$OLDPWD/$1 ;; esac
have mmdebstrap || die "mmdebstrap is needed: apt-get install mmdebstrap"

mirror=${RBUILD_DEBIAN_MIRROR:-}
if [ -z "$mirror" ]; then
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(ORIGIN) $(COMPONENT)' \
    'Created-By: Packages' 2>/dev/null | awk '$2 == "bookworm" && $3 == "Debian" && $4 == "main" { print $1; exit }')
fi

conf=$(mktemp)
trap 'rm -f "$conf" "$out.part"' EXIT
apt-config dump --format '%F "%v";%n' Acquire::http::Proxy Acquire::https::Proxy 2>/dev/null |
  grep -v '""' > "$conf" || true
chmod 644 "$conf"

mkdir -p "$(dirname "$out")"
# root: chroot; others: a user namespace with their subordinate ids.
mode=unshare
[ "$(id -u)" != 0 ] || mode=root
SOURCE_DATE_EPOCH=1735689600 mmdebstrap --quiet --mode=$mode --format=tar --variant=minbase \
  --skip=output/dev \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/info/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/machine-id' \
  --customize-hook='rm -rf "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old "$1"/var/log/*' \
  --customize-hook="[ ! -s '$conf' ] || cp '$conf' \"\$1\"/etc/apt/apt.conf.d/01proxy" \
  bookworm "$out.part" ${mirror:+"$mirror"}
mv "$out.part" "$out"
