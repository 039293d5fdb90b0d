#!/usr/bin/env bash
# Writes the synthetic OPT of a little over 1 GB that the demo and the memory proof run: nine tenths of it are neurons.
# usage: scripts/synthetic_model.sh GLINT FILE
set -euo pipefail
if [ $# -ne 2 ]; then sed -n '3s/^# //p' "$0" >&2; exit 2; fi
exec "$1" synth -o "$2" --layers 14 --hidden 1024 --ffn 16384 --heads 16 --vocab 8192 --context 512 --type f16 \
  --activity 0.05 --seed 1
