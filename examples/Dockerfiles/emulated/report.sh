#!/bin/sh
# What the programs of this image say about the machine they run on.
echo "machine: $(uname -m)"
echo "elf: $(dd if=/bin/busybox bs=1 skip=18 count=2 2>/dev/null | od -An -tu2 | tr -d ' ')"
