"""Is the exact search ever above other mappers? On the same machines, both in one cost model.

Usage::

    python benchmarks/peers.py [--shared DIR] [--zigzag PYTHON] [--accelforge PYTHON]

Timeloop: the mappings in records of its runs (``peer_timeloop.py``; the records are in ``shared``).
ZigZag: its own mapper, run by the interpreter of an environment of its own that has
``pip install zigzag-dse six`` (``peer_zigzag.py``; about 700 MB and a quarter of an hour). Columns:
EDP that qmc found; of ZigZag's best mapping as ZigZag counts; of the same mapping in qmc's model;
the least in qmc's model of all mappings that ZigZag tried; qmc's over that; seconds of both;
mappings tried, and those of them that qmc's model cannot price (``inf`` in the columns before).
AccelForge: likewise, on a machine of its own (``peer_accelforge.py``), by an interpreter of Python
3.12 or newer with ``pip install accelforge``, and Graphviz; columns as before. Exit status 1 when
the search is above a mapping, or a tool that was asked for cannot be run.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from peer_accelforge import compare_accelforge
from peer_timeloop import compare_timeloop
from peer_zigzag import compare_zigzag
from search_speed import compile_all

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--zigzag", type=Path, help="interpreter that has zigzag-dse")
    parser.add_argument("--accelforge", type=Path, help="interpreter that has accelforge")
    options = parser.parse_args()
    began = time.perf_counter()
    compile_all()
    print(f"compilation, or loading what was compiled before: {time.perf_counter() - began:.1f} s")
    golden = options.shared / "data" / "golden"
    fine = True
    if golden.is_dir():
        fine &= compare_timeloop(golden)
    else:
        print(f"Timeloop: no records in {golden}; give --shared")
    if options.zigzag:
        fine &= compare_zigzag(options.zigzag)
    else:
        print("ZigZag: give --zigzag PYTHON, an interpreter that has zigzag-dse and six")
    if options.accelforge:
        fine &= compare_accelforge(options.accelforge)
    else:
        print("AccelForge: give --accelforge PYTHON, an interpreter that has accelforge")
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
