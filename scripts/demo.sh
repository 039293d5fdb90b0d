#!/usr/bin/env bash
# Shows what glint does: a real model that writes text while glint holds fewer bytes than its file has, then the same
# in one line on a synthetic model of 1 GB. Everything it makes lies in build/demo; the large file is removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."

demo=build/demo
glint=build/release/glint
small=$demo/tales-opt.glint
large=$demo/synthetic.glint
large_bytes_needed=1300000000

heading() { printf '\n== %s\n' "$*"; }
bytes_of() { stat -c %s "$1"; }

heading "Build (what is missing is installed first; a few minutes the first time)"
scripts/setup.sh
build_log=build/demo-build.log
mkdir -p "$demo"
if ! { cmake --preset release && cmake --build --preset release -j "$(nproc)" --target glint_cli; } >"$build_log" 2>&1; then
  tail -n 40 "$build_log" >&2
  echo "demo.sh: the build failed; all of its output is in $build_log" >&2
  exit 1
fi
echo "built $glint"

heading "Pack: the Hugging Face folder test/models/tales-opt becomes a model file, neuron by neuron"
"$glint" pack test/models/tales-opt -o "$small"

# A twelfth less than the file has; the KV cache and the scratch memory take their part of it too.
context=128
budget=$(($(bytes_of "$small") / 12 * 11))

heading "Plan: how a budget of $budget bytes is divided; the file has $(bytes_of "$small")"
"$glint" plan -m "$small" --budget "$budget" -c $context

heading "Run: text as it comes, then what it cost"
"$glint" run -m "$small" --budget "$budget" -c $context -p "Once upon a time" -n 100 --temp 0.7

free_bytes=$(df --output=avail -B1 "$demo" | tail -n 1)
if [ "$free_bytes" -lt $large_bytes_needed ]; then
  echo "demo.sh: the second part needs $large_bytes_needed bytes free in $demo, there are $free_bytes" >&2
  exit 1
fi
trap 'rm -f "$large"' EXIT

heading "The same at size: a synthetic model of 1 GB (random weights, so random text, not shown)"
scripts/synthetic_model.sh "$glint" "$large"
heading "Run at half its size: here the process's peak, too, is below the file's $(bytes_of "$large") bytes"
"$glint" run -m "$large" --budget $(($(bytes_of "$large") / 2)) -c $context -p "Once upon a time" -n 16 --temp 0 \
  --ignore-eos >/dev/null
