#!/usr/bin/env bash
# What scripts/test.sh has no time for: sanitizers, fuzzing, another compiler, other options, format, tidy, slow tests.
# usage: scripts/check.sh [--tally FILE] [--only PART]   PART: format, slow, clang, tidy, no-uring, asan, tsan or fuzz
set -euo pipefail
cd "$(dirname "$0")/.."

# All fuzzers together get this long.
fuzz_seconds=60
# Suites named *SlowTest run in release only, in the part `slow`.
slow_suites='SlowTest\.'
# Minutes of sums under a sanitizer, over code that GoldenTest runs there too.
too_slow_to_sanitize="$slow_suites|PerplexityTest\.TheFirst64Windows"

tally_file=""
parts=(format slow clang tidy no-uring asan tsan fuzz)
while [ $# -gt 0 ]; do
  case "$1" in
    --tally) tally_file=${2:?--tally needs a file}; shift 2 ;;
    --only) parts=("${2:?--only needs a part}"); shift 2 ;;
    *) sed -n '3s/^# //p' scripts/check.sh >&2; exit 2 ;;
  esac
done

source scripts/tally.bash
jobs=$(nproc)

scripts/setup.sh --check

# Our sources whose names match the find expression; returns 1 where there are none, which can only be a mistake.
ours() {
  local found
  found=$(find include base storage tokenizer predictor runtime apps test -type f \( "$@" \) | sort)
  [ -n "$found" ] && printf '%s\n' "$found"
}

# Older ThreadSanitizer runtimes refuse the address randomisation of newer kernels, where it cannot be turned off too.
fixed_layout=()
if setarch -R true 2>/dev/null; then fixed_layout=(setarch -R); fi

configure_and_build() {
  local preset=$1
  shift
  cmake --preset "$preset" && ${fixed_layout[@]+"${fixed_layout[@]}"} cmake --build --preset "$preset" -j "$jobs" "$@"
}

# build PRESET [BUILD_ARGUMENT...]: counts as one check; returns 1 where it failed, so that its tests are not run.
build() {
  local failed_before=$tally_failed
  tally_check "build $1" configure_and_build "$@"
  [ "$tally_failed" -eq "$failed_before" ]
}

part_format() {
  check_format() { ours -name '*.cc' -o -name '*.h' -o -name '*.c' | xargs clang-format --dry-run -Werror; }
  tally_check "clang-format" check_format
}

part_slow() {
  build release || return 0
  # A tree without slow tests is no failure.
  if [ "$(ctest --test-dir build/release -N -R "$slow_suites" | sed -n 's/^Total Tests: //p')" != 0 ]; then
    tally_ctest "slow tests, release" build/release -j "$jobs" -R "$slow_suites"
  fi
}

part_clang() {
  build clang || return 0
  tally_ctest "tests, clang++" build/clang -j "$jobs" -E "$slow_suites"
}

part_tidy() {
  # How the files are compiled is known before they are. The fuzzers are not in this build.
  tally_check "configure clang" cmake --preset clang
  check_tidy() {
    ours -name '*.cc' ! -path 'test/fuzz/*' -o -name '*.c' |
      xargs -P "$jobs" -n 1 clang-tidy -p build/clang --quiet
  }
  tally_check "clang-tidy" check_tidy
}

part_no-uring() {
  # Only the flash reader knows io_uring; the program shows that all of it links without.
  build no-uring --target flash_tests glint_cli || return 0
  tally_ctest "flash reader tests, without io_uring" build/no-uring/test/storage/flash -j "$jobs" -E "$slow_suites"
}

part_asan() {
  build asan || return 0
  tally_ctest "tests, address and undefined sanitizers" build/asan -j "$jobs" --timeout 900 -E "$too_slow_to_sanitize"
}

part_tsan() {
  build tsan || return 0
  tally_launcher=("${fixed_layout[@]}")
  tally_ctest "tests, thread sanitizer" build/tsan -j "$jobs" --timeout 900 -E "$too_slow_to_sanitize"
  tally_launcher=()
}

# fuzz_one NAME SECONDS: from the seeds of test/fuzz/corpus/NAME, which it leaves as they are. libFuzzer's own exit code
# for a crash is 77, which would count as skipped.
fuzz_one() {
  local name=$1
  mkdir -p "build/fuzz/found/$name"
  "build/fuzz/test/fuzz/$name" -max_total_time="$2" -max_len=4096 -timeout=10 -error_exitcode=1 -rss_limit_mb=2048 \
    -verbosity=0 -print_funcs=0 -print_final_stats=1 -artifact_prefix="build/fuzz/$name-" \
    "build/fuzz/found/$name" "test/fuzz/corpus/$name"
}

part_fuzz() {
  local source name names=()
  for source in test/fuzz/*_fuzz.cc; do
    if [ -f "$source" ]; then names+=("$(basename "$source" .cc)"); fi
  done
  if [ "${#names[@]}" -eq 0 ]; then
    tally_check "there are fuzzers in test/fuzz" false
    return 0
  fi
  build fuzz --target "${names[@]}" || return 0
  for name in "${names[@]}"; do
    tally_check "fuzz $name" fuzz_one "$name" $(((fuzz_seconds + ${#names[@]} - 1) / ${#names[@]}))
  done
}

for part in "${parts[@]}"; do
  if [ "$(type -t "part_$part")" != function ]; then echo "check.sh: no part '$part'" >&2; exit 2; fi
  "part_$part"
done
tally_finish "$tally_file"
