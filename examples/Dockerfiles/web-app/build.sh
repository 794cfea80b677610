#!/bin/sh
# Bundles modules and sources into one file that is named by its content: build.sh OUT
set -eu
out=$1
mkdir -p "$out"
cat modules/*/index.js src/main.js > "$out/bundle.js"
hash=$(sha256sum "$out/bundle.js" | cut -c1-12)
mv "$out/bundle.js" "$out/bundle-$hash.js"
sed "s/@BUNDLE@/bundle-$hash.js/" src/index.html > "$out/index.html"
cp src/style.css "$out/"
