#!/usr/bin/env bash
# Builds glint and runs its tests: under ten minutes on two cores with nothing built yet.
# usage: scripts/test.sh [--tally FILE]
set -euo pipefail
cd "$(dirname "$0")/.."

tally_file=""
case "${1:-}" in
  "") ;;
  --tally) tally_file=${2:?--tally needs a file} ;;
  *) echo "usage: scripts/test.sh [--tally FILE]" >&2; exit 2 ;;
esac

source scripts/tally.bash
jobs=$(nproc)

scripts/setup.sh

build_release() { cmake --preset release && cmake --build --preset release -j "$jobs"; }
tally_check "build release" build_release
if [ "$tally_failed" -gt 0 ]; then tally_finish "$tally_file"; exit 1; fi

tally_check "house rules" scripts/house_rules.py --compile-commands build/release/compile_commands.json
tally_check "house rules find what is planted" scripts/house_rules.py --self-test
# Suites named *SlowTest run in scripts/check.sh.
tally_ctest "tests, release" build/release -j "$jobs" --timeout 300 -E 'SlowTest\.'
tally_check "memory proof" scripts/memory_proof.py build/release/glint
tally_finish "$tally_file"
