#!/bin/sh
# Makes site.tar.gz and plugins.tar: the same bytes on every machine with GNU tar and gzip.
set -eu
cd "$(dirname "$0")"
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

mkdir -p "$tree/site/v1" "$tree/site/v2" "$tree/plugins/search"
echo '<h1>version 1</h1>' > "$tree/site/v1/index.html"
echo '<h1>version 2</h1>' > "$tree/site/v2/index.html"
ln -s v2 "$tree/site/current"
ln "$tree/site/v2/index.html" "$tree/site/v2/start.html"
(cd "$tree/site" && sha256sum v1/index.html v2/index.html > SHA256SUMS)
printf '#!/bin/sh\necho searching\n' > "$tree/plugins/search/run"

pack() {
  (cd "$tree/$1" && tar --sort=name --owner=1000 --group=1000 --numeric-owner --format=ustar \
    --mode='u=rwX,go=rX' --mtime=@1735689600 -cf - -- *)
}
pack site | gzip -9n > site.tar.gz
chmod 755 "$tree/plugins/search/run"
pack plugins > plugins.tar
