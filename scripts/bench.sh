#!/usr/bin/env bash
# Runs the comparison of builders on small workloads, with rbuild alone: bench.sh RBUILD
#
# It tells whether bench/run.py still works and every image it makes is right; no time counts.
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 1 ] || die "usage: bench.sh RBUILD"
scratch=$(mktemp -d /var/tmp/rbuild-bench.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
bench/run.py --quick --tools rbuild --rbuild "$1" --work "$scratch" --plot "$scratch/chart.svg"
python3 - "$scratch" << 'CHECK'
import json, sys
from xml.etree import ElementTree

scratch = sys.argv[1]
rows = json.load(open(f"{scratch}/results.json"))["rows"]
ElementTree.parse(f"{scratch}/chart.svg")
assert rows and all(row["seconds"]["rbuild"] and row["peak_bytes"]["rbuild"] for row in rows), "something was not measured"
assert all(row["checks"]["rbuild"].startswith("ok") for row in rows), "an image is wrong"
print(f"{len(rows)} rows measured")
CHECK
