#!/usr/bin/env bash
# Makes a small root file system from this machine's static busybox: make-base.sh OUT.tar
#
# The tar holds /bin/busybox, a symlink for each of its applets, users, groups and the folders that
# programs expect. It needs no root, and is the same bytes for the same busybox.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 1 ] || die "usage: make-base.sh OUT.tar"
case $1 in /*) out=$1 ;; *) out=$OLDPWD/$1 ;; esac
busybox=$(command -v busybox) || die "busybox is needed: apt-get install busybox-static"
if ldd "$busybox" >/dev/null 2>&1; then
  die "$busybox is not static: apt-get install busybox-static"
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
cd "$root"
mkdir -p bin dev etc home lib proc root run sbin sys tmp usr/bin usr/sbin usr/lib var/log var/tmp var/www
cp "$busybox" bin/busybox
"$busybox" --list-full | while read -r applet; do
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
  "$("$busybox" | head -n1 | cut -d' ' -f2)" > etc/os-release

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
