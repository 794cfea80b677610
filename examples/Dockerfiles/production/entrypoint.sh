#!/bin/sh
# Checks the settings, then becomes the command.
set -eu
[ -r "$TICKER_CONFIG" ] || { echo "cannot read $TICKER_CONFIG" >&2; exit 1; }
exec "$@"
