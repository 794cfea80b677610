#!/bin/sh
if [ "${1-}" = --self-test ]; then
  echo "passed"
else
  echo "a tool, flavour ${FLAVOUR-none}"
fi
