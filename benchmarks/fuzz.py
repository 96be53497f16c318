"""Fuzzing for as long as wanted: damaged files for every command, and random valid networks.

Usage::

    python benchmarks/fuzz.py [--seconds N] [--seed N] [--keep FOLDER] [--only files|networks]

Every case runs in a process of its own with limits of 60 s and 2 GiB. A command on a damaged file
must end with 0, or with 2 and one line, and leave nothing behind then; a random network of
supported operators must compile, its C must be equal to the reference on every layer, and ONNX
Runtime must compute the same integers from the exported file. Cases follow from the seed and their
number. Prints what broke a rule, with the folder of its inputs; exit status 1 then.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fuzz.commands import Finding, describe, try_network, try_one, write_inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder of the inputs that broke a rule")
    parser.add_argument("--only", choices=["files", "networks"])
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="qmc-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["QMC_CACHE_DIR"] = str(folder / "cache")
    inputs = folder / "inputs"
    write_inputs(inputs)
    end, number = time.monotonic() + given.seconds, 0
    counts: Counter[str] = Counter()
    findings: list[Finding] = []
    while time.monotonic() < end:
        dice = random.Random(f"{given.seed}/{number}")
        kind = given.only or ("networks" if number % 8 == 0 else "files")
        case = folder / f"{number:06d}"
        found = try_network(case, dice) if kind == "networks" else try_one(inputs, case, dice)
        counts[kind] += 1
        if found:
            findings.append(found)
            print(describe([found]), end="\n\n", flush=True)
        number += 1
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items()))
    print(f"{told} in {given.seconds:.0f} s, seed {given.seed}: {len(findings)} broke a rule")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
