# Counts what passed and what failed. Sourced by test.sh and check.sh, with pipefail set; not a program of its own.
#
# The last line of tally_finish is `N passed, N failed`; with a tally file, the same two numbers are written there for a
# caller that adds up several scripts.

tally_passed=0
tally_failed=0
tally_failures=()
tally_launcher=()  # what ctest runs under, for a caller to set

# tally_check NAME COMMAND...: one check, passed where COMMAND exits with 0; 77 means that it could not be made here.
tally_check() {
  local name=$1 code=0 start=$SECONDS
  shift
  echo "== $name"
  "$@" </dev/null || code=$?
  case $code in
    0) tally_passed=$((tally_passed + 1)); echo "-- ok: $name ($((SECONDS - start)) s)" ;;
    77) echo "-- SKIPPED, not counted: $name" ;;
    *)
      tally_failed=$((tally_failed + 1))
      tally_failures+=("$name (exit code $code)")
      echo "-- FAILED: $name (exit code $code, $((SECONDS - start)) s)"
      ;;
  esac
  return 0
}

# tally_ctest NAME BUILD_FOLDER [CTEST_ARGUMENT...]: every test counts by itself. A run without a single test is a failure.
tally_ctest() {
  local name=$1 folder=$2 start=$SECONDS code=0 counts
  shift 2
  echo "== $name"
  rm -f "$folder/ctest.xml"
  ${tally_launcher[@]+"${tally_launcher[@]}"} ctest --test-dir "$folder" --output-on-failure --no-tests=error --output-junit ctest.xml "$@" </dev/null |
    sed -u '/^ *Start *[0-9]*: /d' || code=$?
  # Prints: passed failed skipped.
  counts=$(python3 - "$folder/ctest.xml" <<'EOF' || true
import sys
import xml.etree.ElementTree as tree

suite = tree.parse(sys.argv[1]).getroot()
total, failed = int(suite.get("tests")), int(suite.get("failures"))
skipped = int(suite.get("skipped", 0)) + int(suite.get("disabled", 0))
print(total - failed - skipped, failed, skipped)
EOF
  )
  local passed=0 failed=0 skipped=0
  read -r passed failed skipped <<<"${counts:-0 0 0}"
  # ctest can fail without a failed test: nothing was found, or it died.
  if [ "$code" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
  tally_passed=$((tally_passed + passed))
  tally_failed=$((tally_failed + failed))
  if [ "$failed" -gt 0 ]; then tally_failures+=("$name ($failed of its tests)"); fi
  echo "-- $name: $passed ok, $failed failed, $skipped skipped ($((SECONDS - start)) s)"
  return 0
}

# tally_finish [TALLY_FILE]: the summary. Returns 1 where something failed or nothing passed.
tally_finish() {
  local failure
  for failure in ${tally_failures[@]+"${tally_failures[@]}"}; do echo "FAILED: $failure"; done
  if [ -n "${1:-}" ]; then echo "$tally_passed $tally_failed" >"$1"; fi
  echo "$tally_passed passed, $tally_failed failed"
  [ "$tally_failed" -eq 0 ] && [ "$tally_passed" -gt 0 ]
}
