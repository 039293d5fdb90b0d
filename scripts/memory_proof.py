#!/usr/bin/env python3
"""Proves from the outside that glint holds no more than its budget, on a model of at least 1 GB.

usage: scripts/memory_proof.py GLINT [--model FILE] [--folder FOLDER]

At half the file's size, in a memory cgroup of budget + 64 MiB (page cache counted) where this user can make one:
the run succeeds, AND the process's high-water mark is at most budget + 24 MiB, AND the kernel's count of bytes read from
the device agrees with glint's own within 5%. Then: the least budget that `plan` names works, 1 MiB less is refused by
name before anything is loaded, and the answer is the same at every budget. Last, the same proof is put to a program that
maps the file (mapped_model.py), which it must reject.

Without --model a synthetic one is written to FOLDER (build/memory_proof) and removed afterwards.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
MIB = 1 << 20
OUTSIDE_BUDGET_BYTES = 24 * MIB  # program text, libraries, stacks, small heap
CGROUP_MARGIN_BYTES = 64 * MIB
READ_TOLERANCE = 0.05
MODEL_BYTES_MIN = 10**9
REFUSAL_READ_BYTES_MAX = 8 * MIB  # header, directory and tables, but no weights
REFUSAL_PEAK_BYTES_MAX = 64 * MIB
CONTEXT = "256"
RUN_ARGUMENTS = ["-c", CONTEXT, "-p", "glint", "-n", "8", "--temp", "0", "--ignore-eos"]
SECONDS_MAX = 300


@dataclass
class Observation:
    """What the kernel says about a finished command and its children."""

    exit_code: int  # negative: the signal
    stdout: str
    stderr: str
    peak_bytes: int
    read_bytes: int

    def report(self):
        """The JSON object on stdout, or {} where there is none."""
        try:
            value = json.loads(self.stdout)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


def observe(command):
    """Runs `command` and returns what wait4 says of it and of what it waited for.

    ru_inblock is the sum of read_bytes of /proc/PID/io in units of 512 bytes; unlike that file it can be had, by any
    user, when the process has ended.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        # Not kill: memory_limited.sh passes this signal on, and would leave its child running if it were killed itself.
        killer = threading.Timer(SECONDS_MAX, process.terminate)
        killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
        return Observation(process.returncode, *texts, usage.ru_maxrss * 1024, usage.ru_inblock * 512)


def drop_from_page_cache(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_cgroup(limit_bytes, command):
    return [str(SCRIPTS / "memory_limited.sh"), str(limit_bytes), "--", *command]


def can_limit_memory():
    probe = subprocess.run(in_cgroup(256 * MIB, ["--probe"]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return probe.returncode == 0


def run_model(program, model, budget_bytes, limited):
    command = [*program, "run", "-m", str(model), "--budget", str(budget_bytes), "--json", *RUN_ARGUMENTS]
    drop_from_page_cache(model)
    return observe(in_cgroup(budget_bytes + CGROUP_MARGIN_BYTES, command) if limited else command)


def judge(observation, budget_bytes):
    """The proof itself. Returns {claim: (holds, what was seen)}."""
    report = observation.report()
    claimed_bytes = report.get("flash_read_bytes", -1)
    peak_max = budget_bytes + OUTSIDE_BUDGET_BYTES
    return {
        "run": (observation.exit_code == 0 and bool(report), f"exit code {observation.exit_code}"),
        "peak": (0 < observation.peak_bytes <= peak_max, f"{observation.peak_bytes:,} of at most {peak_max:,} bytes"),
        "own peak": (0 < report.get("peak_rss_bytes", -1) <= peak_max, f"{report.get('peak_rss_bytes', -1):,} bytes"),
        "held": (0 < report.get("held_bytes_max", -1) <= budget_bytes, f"{report.get('held_bytes_max', -1):,} bytes"),
        "device": (
            claimed_bytes > 0 and abs(observation.read_bytes - claimed_bytes) <= READ_TOLERANCE * claimed_bytes,
            f"{observation.read_bytes:,} bytes read, {claimed_bytes:,} claimed",
        ),
    }


class Proof:
    def __init__(self):
        self.failed = 0

    def expect(self, holds, claim, seen):
        print(f"  {'ok' if holds else 'FAILED'}: {claim}: {seen}", flush=True)
        self.failed += not holds

    def expect_all(self, observation, budget_bytes, name):
        claims = judge(observation, budget_bytes)
        for claim, (holds, seen) in claims.items():
            self.expect(holds, f"{name}, {claim}", seen)
        if not claims["run"][0]:
            print(observation.stderr.strip()[-2000:])
        return observation.report().get("logits_hash")


def prove_glint(proof, glint, model, limited):
    model_bytes = model.stat().st_size
    proof.expect(model_bytes >= MODEL_BYTES_MIN, "model file", f"{model_bytes:,} bytes")
    half = model_bytes // 2
    hashes = {"half": proof.expect_all(run_model([glint], model, half, limited), half, "half its size")}

    planned = observe([glint, "plan", "-m", str(model), "--budget", str(half), "-c", CONTEXT, "--json"])
    least = planned.report().get("least_budget_bytes")
    proof.expect(planned.exit_code == 0 and isinstance(least, int), "plan names the least budget", f"{least}")
    if isinstance(least, int):
        proof.expect(least < half, "least budget is below half the file", f"{least:,} bytes")
        hashes["least"] = proof.expect_all(run_model([glint], model, least, limited), least, "least budget")
        refused = run_model([glint], model, least - MIB, limited)
        lines = refused.stderr.strip().splitlines()
        proof.expect(refused.exit_code > 0 and refused.exit_code != 137, "1 MiB less is refused", f"exit code {refused.exit_code}")
        proof.expect(bool(lines) and "budget" in lines[-1], "by name", lines[-1] if lines else "nothing on stderr")
        proof.expect(
            refused.read_bytes <= REFUSAL_READ_BYTES_MAX and refused.peak_bytes <= REFUSAL_PEAK_BYTES_MAX,
            "before anything is loaded",
            f"{refused.read_bytes:,} bytes read, {refused.peak_bytes:,} bytes of memory",
        )

    # More than the file: the sum of the shares may be a little larger than the weights.
    full = model_bytes + model_bytes // 4
    everything = run_model([glint], model, full, limited=False)
    proof.expect(everything.exit_code == 0, "all of it in memory, run", f"exit code {everything.exit_code}")
    hashes["full"] = everything.report().get("logits_hash")
    same = len(set(hashes.values())) == 1 and None not in hashes.values()
    proof.expect(same, "the same logits_hash at every budget", str(hashes))


def prove_the_proof(proof, model, limited):
    """A mapped file must be rejected: by its memory, and by its bytes where it is free to keep what it has read."""
    budget_bytes = model.stat().st_size // 2
    claims = judge(run_model([str(SCRIPTS / "mapped_model.py")], model, budget_bytes, limited), budget_bytes)
    if claims["run"][0]:
        for claim in ("peak",) if limited else ("peak", "device"):
            holds, seen = claims[claim]
            where = "in the cgroup" if limited else "without a cgroup"
            proof.expect(not holds, f"a mapped file is rejected {where}, {claim}", seen)
    else:
        # Without the limit nothing may kill it, so that this is never an excuse for a broken mapped_model.py.
        proof.expect(limited, "a mapped file is rejected, killed in the cgroup", claims["run"][1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("glint")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--folder", type=Path, default=SCRIPTS.parent / "build" / "memory_proof")
    arguments = parser.parse_args()
    if not os.access(arguments.glint, os.X_OK):
        print(f"memory_proof.py: no program at '{arguments.glint}'", file=sys.stderr)
        return 1

    limited = can_limit_memory()
    if not limited:
        print("  SKIPPED: the memory cgroup, which this user cannot make; the other claims are judged without it")
    model = arguments.model
    proof = Proof()
    try:
        if model is None:
            arguments.folder.mkdir(parents=True, exist_ok=True)
            model = arguments.folder / "synthetic.glint"
            subprocess.run([str(SCRIPTS / "synthetic_model.sh"), arguments.glint, str(model)], stdin=subprocess.DEVNULL, check=True)
        prove_glint(proof, arguments.glint, model, limited)
        prove_the_proof(proof, model, limited)
        if limited:
            prove_the_proof(proof, model, limited=False)
    except subprocess.CalledProcessError as error:
        print(f"memory_proof.py: {error}", file=sys.stderr)
        return 1
    finally:
        if arguments.model is None and model is not None:
            model.unlink(missing_ok=True)
    return 1 if proof.failed else 0


if __name__ == "__main__":
    sys.exit(main())
