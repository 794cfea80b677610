# shellcheck shell=bash
# shellcheck disable=SC2034
# What must be reached, in one place. Raise the numbers when the program gets better; never lower one
# without saying why in the change that does it.

# Cases of the shared corpus that must pass, of 549.
CORPUS_MIN_PASS=538
# Cases of the torture suite that must pass are listed by name in scripts/torture-required.txt.

# Seconds a fuzz target runs in a test run.
FUZZ_SECONDS=60
