# shellcheck shell=bash
# shellcheck disable=SC2034
# What must be reached, in one place. Raise the numbers when the program gets better; never lower one
# without saying why in the change that does it.

# Cases of the shared corpus that must pass, of 549.
CORPUS_MIN_PASS=538
# Cases of the torture suite that must pass are listed by name in scripts/torture-required.txt.

# Inputs that each fuzz target tries in a test run: about a minute's worth.
declare -A FUZZ_RUNS=(
  [agent]=4000000
  [answers]=1200000
  [archives]=60000
  [dockerignore]=1300000
  [expansion]=1500000
  [layer_index]=120000
  [manifests]=350000
  [parser]=250000
  [planner]=120000
  [references]=250000
  [remotes]=2000000
  [tar_ingest]=250000
  [terminal]=3000000
)
# Seconds after which a target ends there, whatever it has done by then.
FUZZ_SECONDS=120
# Targets that start threads.
FUZZ_THREADED=(agent archives tar_ingest)
