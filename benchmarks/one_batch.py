"""Calibrate with five different single batches of 32 images; print how far the results differ.

Usage::

    python benchmarks/one_batch.py [--shared DIR] [--scheme w8a8 w4a8] [--network NAME ...]

The networks run in ``qmc.integer_runner``, not as C, on the first ``--limit`` eval images. The
band is the largest less the smallest top-1 of the five.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from accuracy import CASES

from qmc.calibrate import calibrate
from qmc.data import Use, load_dataset, load_preprocess
from qmc.float_model import float_top1
from qmc.frontend import load_network
from qmc.integer_runner import IntegerRunner
from qmc.quantize import quantize
from qmc.widths import Widths, parse_widths

_BATCH, _BATCHES = 32, 5


def measure(data: Path, name: str, scheme: str, limit: int) -> tuple[list[float], list[float]]:
    """Top-1 and agreement, in percent, of every batch."""
    case = CASES[name]
    model = data / "models" / f"{case.model}.onnx"
    _, network = load_network(model)
    shape, preprocess = network.tensors[network.input].shape, load_preprocess(model)
    calib = load_dataset(data / "datasets" / case.calib, Use.CALIB, shape, preprocess)
    images = load_dataset(data / "datasets" / case.eval, Use.EVAL, shape, preprocess, limit)
    expected, widths = float_top1(model, images), parse_widths(scheme, network)
    assert isinstance(widths, Widths)
    order = np.random.default_rng(0).permutation(len(calib))
    top1, agreement = [], []
    for number in range(_BATCHES):
        chosen = np.roll(order, -number * _BATCH)[:_BATCH]  # of 100 images the last overlap
        scheme_found = calibrate(network, [calib.inputs(chosen.tolist())], widths)
        runner = IntegerRunner(quantize(network, scheme_found))
        found = np.concatenate([runner.classify(batch) for batch in images.batches(16)])
        top1.append(100.0 * float(np.mean(found == images.labels)))
        agreement.append(100.0 * float(np.mean(found == expected)))
    return top1, agreement


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    beside = Path(__file__).parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="folder that holds data/")
    parser.add_argument("--scheme", nargs="+", default=["w8a8", "w4a8"])
    parser.add_argument("--network", nargs="+", default=["resnet8", "resnet20"], choices=CASES)
    parser.add_argument("--limit", type=int, default=1000)
    arguments = parser.parse_args()
    for name in arguments.network:
        for scheme in arguments.scheme:
            top1, agreement = measure(arguments.shared / "data", name, scheme, arguments.limit)
            print(
                f"{name:20}{scheme:7} top-1 {min(top1):.2f} to {max(top1):.2f}, "
                f"band {max(top1) - min(top1):.2f}; agreement {min(agreement):.2f} to "
                f"{max(agreement):.2f}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
