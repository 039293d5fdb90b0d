#!/usr/bin/env bash
# Installs what building glint needs. Where all of it is there already, this does nothing and needs no root.
# On Debian and Ubuntu the missing packages are installed with apt; elsewhere they are named, and the exit code is 1.
set -euo pipefail

usage() {
  cat <<'EOF'
usage: scripts/setup.sh [--check] [--dry-run]
  --check    also what scripts/check.sh needs (clang, its sanitizers and fuzzer, clang-tidy, clang-format)
  --dry-run  only name what is missing; exit code 1 where something is
EOF
}

want_check=false
dry_run=false
for argument in "$@"; do
  case "$argument" in
    --check) want_check=true ;;
    --dry-run) dry_run=true ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup.sh: unknown argument '$argument'" >&2; usage >&2; exit 2 ;;
  esac
done

has_command() { command -v "$1" >/dev/null 2>&1; }

# has_header HEADER: a C++ compiler finds it. Without a compiler every header counts as missing.
has_header() {
  has_command g++ && echo "#include <$1>" | g++ -std=c++20 -E -x c++ - >/dev/null 2>&1
}

clang_version() { clang -dumpversion | cut -d. -f1; }

# libFuzzer and the sanitizers' runtimes come in a package of their own on newer systems.
has_fuzzer() {
  has_command clang++ &&
    echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
    clang++ -x c++ -fsanitize=fuzzer,address,undefined -o /dev/null - 2>/dev/null
}

missing=()
need_command() { has_command "$1" || missing+=("$2"); }
need_header() { has_header "$1" || missing+=("$2"); }

find_missing() {
  missing=()
  need_command g++ g++
  need_command cmake cmake
  need_command ninja ninja-build
  need_command ccache ccache
  need_command python3 python3
  need_header liburing.h liburing-dev
  need_header xxhash.h libxxhash-dev
  need_header nlohmann/json.hpp nlohmann-json3-dev
  need_header CLI/CLI.hpp libcli11-dev
  need_header gtest/gtest.h libgtest-dev
  need_header gmock/gmock.h libgmock-dev
  need_header utf8proc.h libutf8proc-dev
  if $want_check; then
    need_command clang++ clang
    need_command clang-tidy clang-tidy
    need_command clang-format clang-format
    # Named by clang's version, so it can only be asked for once clang is there.
    if has_command clang++ && ! has_fuzzer; then missing+=("libclang-rt-$(clang_version)-dev"); fi
  fi
}

install_with_apt() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! has_command sudo; then
      echo "setup.sh: needs root to install: apt-get install ${missing[*]}" >&2
      exit 1
    fi
    as_root=(sudo)
  fi
  echo "setup.sh: installing ${missing[*]}"
  "${as_root[@]}" apt-get update -q </dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
}

find_missing
if [ "${#missing[@]}" -eq 0 ]; then exit 0; fi

if $dry_run || ! has_command apt-get; then
  {
    echo "setup.sh: missing (named as Debian and Ubuntu name them): ${missing[*]}"
    $dry_run || echo "setup.sh: there is no apt-get here; install these with your system's package manager and try again"
  } >&2
  exit 1
fi

install_with_apt
# The second round is for what could not be named before the first, such as the runtime that fits the clang just installed.
find_missing
if [ "${#missing[@]}" -gt 0 ]; then install_with_apt; find_missing; fi
if [ "${#missing[@]}" -gt 0 ]; then
  echo "setup.sh: still missing after the installation: ${missing[*]}" >&2
  exit 1
fi
