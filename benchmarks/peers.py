"""Is the exact search ever above other mappers? ``python benchmarks/peers.py [--shared DIR]``.

Exit status 1 when it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from peer_timeloop import compare_timeloop
from search_speed import compile_all

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    options = parser.parse_args()
    began = time.perf_counter()
    compile_all()
    print(f"compilation, or loading what was compiled before: {time.perf_counter() - began:.1f} s")
    sys.exit(0 if compare_timeloop(options.shared / "data" / "golden") else 1)


if __name__ == "__main__":
    main()
