"""Print top-1 and agreement of the emitted integer programs; exit 1 when one is below its bar.

Usage::

    python benchmarks/accuracy.py [--shared DIR] [--scheme w8a8 ...] [--network NAME ...]

Each row is one ``qmc compile --calib --eval``: calibrated on the ``calib`` part, scored by running
the emitted C on the ``eval`` part. Beside it stands the best of ONNX Runtime 1.30, NNCF 3.4,
MCT 2.6, AIMET 2.42 and a plain NumPy baseline on the same images, as measured once and recorded in
``data/accuracy-baselines.md`` beside the data (first and last layer not kept wider).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """A network, its images, and the largest loss of top-1 at w8a8 that is allowed, in points."""

    model: str
    calib: str
    eval: str
    bar: float = 1.0


_IMAGENET = ("imagenet-sample-dev", "imagenet-sample-dev")
_IMAGENETTE = ("imagenette160-dev", "imagenette160-dev")
_CIFAR = ("cifar10jpg-train-calib.npz", "cifar10jpg-test-dev.npz")
_TEXT = ("textlines-dev.npz", "textlines-dev.npz")

CASES = {
    "efficientnet_lite0": Case("efficientnet_lite0_imagenet", *_IMAGENET),
    "mobilenetv1_075": Case("mobilenetv1_075_imagenet", *_IMAGENET),
    "squeezenet1_1": Case("squeezenet1_1_imagenet", *_IMAGENET),
    "mobilenetv2": Case("mobilenetv2_1.0_imagenette", *_IMAGENETTE),
    "mobilenetv3": Case("mobilenetv3_small_035_textcls", *_TEXT, bar=2.0),
    "resnet8": Case("resnet8_cifar10jpg", *_CIFAR),
    "resnet20": Case("resnet20_cifar10", *_CIFAR),
    "resnet56": Case("resnet56_cifar10", *_CIFAR),
}

#: (network, scheme): top-1 / agreement in percent, and the tool.
BEST_PEER = {
    ("efficientnet_lite0", "w8a8"): "83.3 / 97.9 plain",
    ("efficientnet_lite0", "w4a8"): "65.5 / 69.8 plain",
    ("efficientnet_lite0", "w4a4"): "45.9 / 48.5 plain",
    ("mobilenetv1_075", "w8a8"): "79.9 / 97.0 plain",
    ("mobilenetv1_075", "w4a8"): "55.1 / 59.5 plain",
    ("mobilenetv1_075", "w4a4"): "21.3 / 21.3 plain",
    ("squeezenet1_1", "w8a8"): "59.0 / 94.3 NNCF",
    ("squeezenet1_1", "w4a8"): "42.8 / 56.1 plain",
    ("squeezenet1_1", "w4a4"): "18.2 / 21.2 plain",
    ("mobilenetv2", "w8a8"): "97.1 / 99.7 plain",
    ("mobilenetv2", "w4a8"): "86.3 / 87.0 plain",
    ("mobilenetv2", "w4a4"): "64.4 / 64.7 MCT",
    ("resnet8", "w8a8"): "82.7 / 99.2 plain",
    ("resnet8", "w4a8"): "81.8 / 92.5 AIMET",
    ("resnet8", "w4a4"): "75.4 / 81.4 plain",
    ("resnet20", "w8a8"): "81.5 / 98.6 MCT",
    ("resnet20", "w4a8"): "77.8 / 89.2 plain",
    ("resnet20", "w4a4"): "70.8 / 76.2 plain",
}


def compile_and_measure(data: Path, case: Case, scheme: str, limit: int | None) -> dict[str, float]:
    """The ``network`` entry of the report of one compilation.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "qmc.cli", "compile", f"{data}/models/{case.model}.onnx"]
    command += ["--target", "simba", "--scheme", scheme, "--json", "--no-verify"]
    command += [
        "--calib",
        f"{data}/datasets/{case.calib}",
        "--eval",
        f"{data}/datasets/{case.eval}",
    ]
    command += [] if limit is None else ["--limit", str(limit)]
    with tempfile.TemporaryDirectory() as folder:
        command += ["-o", f"{folder}/build"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)["network"]
    return found


def print_row(name: str, scheme: str, found: dict[str, float], seconds: float) -> bool:
    """Print one measurement; whether it meets the network's bar."""
    drop = found["top1_float"] - found["top1"]
    good = scheme != "w8a8" or drop <= CASES[name].bar
    note = "" if good else f"  MISSED: at most {CASES[name].bar} points"
    print(
        f"{name:20}{scheme:6}{found['images']:7}{found['top1_float']:8.2f}{found['top1']:9.2f}"
        f"{drop:7.2f}{found['agreement']:8.2f}  {BEST_PEER.get((name, scheme), '-'):18}"
        f"{seconds:5.0f} s{note}",
        flush=True,
    )
    return good


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    beside = Path(__file__).parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="folder that holds data/")
    parser.add_argument("--scheme", nargs="+", default=["w8a8"])
    parser.add_argument("--network", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--limit", type=int, help="first N images of each set, in its own order")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    columns = f"{'float':>8}{'integer':>9}{'drop':>7}{'agree':>8}  best peer"
    print(f"{'network':20}{'bits':6}{'images':>7}{columns}")
    good = True
    for name in arguments.network:
        for scheme in arguments.scheme:
            began = time.monotonic()
            data = arguments.shared / "data"
            found = compile_and_measure(data, CASES[name], scheme, arguments.limit)
            good &= print_row(name, scheme, found, time.monotonic() - began)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
