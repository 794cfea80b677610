#!/usr/bin/env bash
# Makes a small root file system from a static busybox: make-base.sh OUT.tar [ARCH]
#
# The busybox is this machine's, or that of Debian's ARCH (arm64, armhf, s390x, …), which apt fetches
# into a folder of its own: nothing is installed, and root is not needed. The tar holds /bin/busybox,
# a symlink for each of its applets, users, groups and the folders that programs expect, and is the
# same bytes for the same busybox.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 1 ] || [ $# = 2 ] || die "usage: make-base.sh OUT.tar [ARCH]"
case $1 in /*) out=$1 ;; *) out=$OLDPWD/$1 ;; esac
arch=${2:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Prints the path of a static busybox for a Debian architecture. The lists of packages are apt's own,
# in a folder of ours; a mirror in the middle of an update may lack some that are not needed.
fetch_busybox() {
  local options
  mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial" "$scratch/unpacked"
  options=(-q -o "APT::Architecture=$1" -o "APT::Architectures=$1" -o "Dir::State::Lists=$scratch/lists"
    -o "Dir::Cache=$scratch/cache" -o Dir::State::status=/dev/null -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User= -o Debug::NoLocking=1)
  (
    cd "$scratch"
    apt-get "${options[@]}" update || true
    apt-get "${options[@]}" download busybox-static
  ) >&2
  dpkg-deb -x "$scratch"/busybox-static_*.deb "$scratch/unpacked"
  echo "$scratch/unpacked/bin/busybox"
}

if [ -n "$arch" ]; then
  busybox=$(fetch_busybox "$arch")
  # The list of applets is in the program, which may not run here; ours has the same ones.
  applets=$(command -v busybox) || die "busybox is needed: apt-get install busybox-static"
else
  busybox=$(command -v busybox) || die "busybox is needed: apt-get install busybox-static"
  applets=$busybox
  if ldd "$busybox" >/dev/null 2>&1; then
    die "$busybox is not static: apt-get install busybox-static"
  fi
fi

root=$scratch/root
mkdir "$root"
cd "$root"
mkdir -p bin dev etc home lib proc root run sbin sys tmp usr/bin usr/sbin usr/lib var/log var/tmp var/www
cp "$busybox" bin/busybox
"$applets" --list-full | while read -r applet; do
  case $applet in bin/busybox | linuxrc) continue ;; esac
  ln -s /bin/busybox "$applet"
done

cat > etc/passwd <<'E'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:operator:/:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
E
cat > etc/group <<'E'
root:x:0:
daemon:x:1:
bin:x:2:
adm:x:4:
tty:x:5:
mail:x:8:
wheel:x:10:root
www-data:x:33:
operator:x:37:
users:x:100:
nogroup:x:65534:
E
printf 'hosts: files dns\n' > etc/nsswitch.conf
printf 'NAME="busybox"\nID=busybox\nPRETTY_NAME="busybox (%s)"\n' \
  "$("$applets" | head -n1 | cut -d' ' -f2)" > etc/os-release

# Modes are set by hand: whoever runs this may have any umask.
find . -type d -exec chmod 755 {} +
find . -type f -exec chmod 644 {} +
chmod 755 bin/busybox
chmod 700 root
chmod 1777 tmp var/tmp

mkdir -p "$(dirname "$out")"
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@1735689600 --format=ustar \
  -cf "$out.part" -- *
mv "$out.part" "$out"
