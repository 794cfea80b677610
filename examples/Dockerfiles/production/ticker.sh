#!/bin/sh
set -eu
. "$TICKER_CONFIG"
while :; do
  date "+$FORMAT" | tee "$TICKER_STATE"
  sleep "${2:-1}"
done
