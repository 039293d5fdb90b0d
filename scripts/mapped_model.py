#!/usr/bin/env python3
"""What glint must not be: a program that maps the model file and touches what it needs.

It takes the arguments of `glint run` that memory_proof.py gives, "runs" the model by touching every page of the mapped
file twice, and claims what such a program believes of itself. The proof must fail for it, or it proves nothing.
"""

import json
import mmap
import sys

PASSES = 2


def main():
    path = sys.argv[sys.argv.index("-m") + 1]
    budget_bytes = int(sys.argv[sys.argv.index("--budget") + 1])
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        for _ in range(PASSES):
            for start in range(0, len(mapped), 1 << 24):
                sum(mapped[start:start + (1 << 24):mmap.PAGESIZE])
        print(json.dumps({
            "budget_bytes": budget_bytes,
            "held_bytes_max": budget_bytes,
            "peak_rss_bytes": budget_bytes,
            "flash_read_bytes": PASSES * len(mapped),
            "logits_hash": "0",
        }))


if __name__ == "__main__":
    main()
