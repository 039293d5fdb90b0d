#!/usr/bin/env python3
"""Writes quant_reference.bin: blocks of 32 floats and what GGML makes of them, by the `gguf` package (gguf.quants).

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install gguf && /tmp/venv/bin/python make_quant_reference.py

Each record: 32 float32, the q8_0 block (half d, 32 int8), the q4_0 block (half d, 16 bytes); little-endian.
"""
import os

import numpy as np
from gguf import GGMLQuantizationType, quants

rng = np.random.default_rng(20240)
blocks = [rng.standard_normal((48, 32)) * 10.0 ** rng.integers(-6, 4, (48, 1))]
blocks.append(np.zeros((1, 32)))  # d is 0 (for q4_0: -0)
blocks.append(np.where(np.arange(32) == 7, -3.5, 0.0)[None])  # one value alone
blocks.append(np.full((1, 32), 0.02))  # all equal: the extreme is positive, the nibble 0
blocks.append(np.where(np.arange(32) % 2, 1.0, -1.0)[None])  # equal magnitudes: the first counts
blocks.append(((np.arange(32) - 15.5) * 127 / 15.5 * 0.5)[None])  # many halves: rounded away from zero
blocks.append(((np.arange(32) - 16) * 0.5)[None])  # nibbles exactly between two integers
blocks.append((rng.standard_normal((4, 32)) * 3e-7))  # d is a denormal half, or none
blocks.append(rng.integers(-127, 128, (6, 32)) + 0.5 * rng.integers(0, 2, (6, 32)))
x = np.concatenate(blocks).astype(np.float32)
q8 = quants.quantize(x, GGMLQuantizationType.Q8_0)
q4 = quants.quantize(x, GGMLQuantizationType.Q4_0)
assert q8.shape == (len(x), 34) and q4.shape == (len(x), 18)
out = np.concatenate([x.view(np.uint8), q8, q4], axis=1)
out.tofile(os.path.join(os.path.dirname(os.path.abspath(__file__)), "quant_reference.bin"))
print(len(x), "blocks,", out.nbytes, "bytes")
