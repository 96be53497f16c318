"""Print top-1 and agreement of the emitted integer programs; exit 1 when one is below its bar.

Usage::

    python benchmarks/accuracy.py [--shared DIR] [--scheme w8a8 w4.5a8 ...] [--network NAME ...]

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

import numpy as np

from qmc.calibrate import calibrate
from qmc.data import Use, load_dataset, load_preprocess
from qmc.float_model import float_top1
from qmc.frontend import load_network
from qmc.integer_runner import IntegerRunner
from qmc.measured_average import measured_average
from qmc.observe import observe
from qmc.quantize import quantize
from qmc.scheme import WeightRounding
from qmc.widths import Widths, asked_average, parse_widths


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

#: Networks whose mean drop has a bar, and the bars in points by scheme.
AVERAGED = ("efficientnet_lite0", "mobilenetv1_075", "squeezenet1_1", "mobilenetv2", "resnet8")
AVERAGED += ("resnet20",)
BARS = {"w8a8": 0.1, "w6a8": 0.3, "w5a8": 0.4, "w4a8": 1.5, "w4a4": 9.0, "w4.5a8": 0.7}
BARS |= {"w4.0a8": 1.0}

#: By network and scheme: the best peer by agreement, top-1 and agreement in percent, and the tool:
#: N NNCF, M MCT, A AIMET, P the plain baseline.
BEST_PEER = {
    "efficientnet_lite0": {
        "w8a8": (83.3, 97.9, "P"),
        "w6a8": (81.8, 92.3, "P"),
        "w5a8": (78.2, 85.4, "P"),
        "w4a8": (65.5, 69.8, "P"),
        "w4a4": (45.9, 48.5, "P"),
    },
    "mobilenetv1_075": {
        "w8a8": (79.9, 97.0, "P"),
        "w6a8": (79.9, 92.3, "P"),
        "w5a8": (75.5, 82.8, "P"),
        "w4a8": (55.1, 59.5, "P"),
        "w4a4": (21.3, 21.3, "P"),
    },
    "squeezenet1_1": {
        "w8a8": (59.0, 94.3, "N"),
        "w6a8": (56.0, 87.3, "P"),
        "w5a8": (54.3, 78.3, "P"),
        "w4a8": (42.8, 56.1, "P"),
        "w4a4": (18.2, 21.2, "P"),
    },
    "mobilenetv2": {
        "w8a8": (97.1, 99.7, "P"),
        "w6a8": (97.4, 98.5, "P"),
        "w5a8": (96.8, 98.7, "P"),
        "w4a8": (86.3, 87.0, "P"),
        "w4a4": (64.4, 64.7, "M"),
    },
    "resnet8": {
        "w8a8": (82.7, 99.2, "P"),
        "w6a8": (82.8, 98.0, "P"),
        "w5a8": (82.3, 96.0, "P"),
        "w4.5a8": (82.7, 96.5, "M"),
        "w4a8": (81.8, 92.5, "A"),
        "w4a4": (75.4, 81.4, "P"),
    },
    "resnet20": {
        "w8a8": (81.5, 98.6, "M"),
        "w6a8": (80.8, 97.5, "P"),
        "w5a8": (80.2, 95.2, "P"),
        "w4.5a8": (79.8, 95.5, "M"),
        "w4a8": (77.8, 89.2, "P"),
        "w4a4": (70.8, 76.2, "P"),
    },
}


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured on the eval part, in percent; drop in points."""

    images: int
    top1_float: float
    top1: float
    agreement: float

    @property
    def drop(self) -> float:
        """Points of top-1 lost."""
        return self.top1_float - self.top1


def calibration(data: Path, case: Case, folder: Path) -> Path:
    """The calibration images: of CIFAR every second one, as the peers had."""
    path = data / "datasets" / case.calib
    if case.calib != _CIFAR[0]:
        return path
    with np.load(path) as arrays:
        np.savez(folder / "calib.npz", images=arrays["images"][::2])
    return folder / "calib.npz"


def compile_and_measure(
    data: Path, case: Case, scheme: str, limit: int | None, rounding: WeightRounding
) -> Found:
    """Compile, and run the emitted program.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "qmc.cli", "compile", f"{data}/models/{case.model}.onnx"]
    command += ["--target", "host", "--scheme", scheme, "--json", "--no-verify"]
    command += ["--weight-rounding", rounding.value]
    command += ["--eval", f"{data}/datasets/{case.eval}"]
    command += [] if limit is None else ["--limit", str(limit)]
    with tempfile.TemporaryDirectory() as name:
        command += ["--calib", str(calibration(data, case, Path(name))), "-o", f"{name}/build"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    entry = json.loads(done.stdout)["network"]
    return Found(entry["images"], entry["top1_float"], entry["top1"], entry["agreement"])


def simulate_and_measure(
    data: Path, case: Case, scheme: str, limit: int | None, rounding: WeightRounding
) -> Found:
    """Calibrate, and run the integers by exact convolutions (``qmc.integer_runner``): not the C."""
    model = data / "models" / f"{case.model}.onnx"
    _, network = load_network(model)
    shape, preprocess = network.tensors[network.input].shape, load_preprocess(model)
    with tempfile.TemporaryDirectory() as name:
        path = calibration(data, case, Path(name))
        calib = load_dataset(path, Use.CALIB, shape, preprocess, limit)
        widths, seen = parse_widths(scheme, network), observe(network, calib)
        assert isinstance(widths, Widths)
        average = asked_average(scheme)
        if average is not None:
            widths = measured_average(average, network, calib, None, seen)
        chosen_scheme = calibrate(network, calib, widths, weight_rounding=rounding, seen=seen)
        runner = IntegerRunner(quantize(network, chosen_scheme))
    images = load_dataset(data / "datasets" / case.eval, Use.EVAL, shape, preprocess, limit)
    chosen = np.concatenate([runner.classify(batch) for batch in images.batches(16)])
    expected = float_top1(model, images)
    hits = (expected == images.labels, chosen == images.labels, chosen == expected)
    return Found(len(images), *(100.0 * float(np.mean(hit)) for hit in hits))


def print_row(name: str, scheme: str, found: Found, seconds: float) -> bool:
    """Print one measurement; whether it is as good as it should be."""
    peer = BEST_PEER.get(name, {}).get(scheme)
    notes = [] if peer is None or found.agreement >= peer[1] - 0.05 else ["below the peer"]
    if scheme == "w8a8" and found.drop > CASES[name].bar:
        notes.append(f"MISSED: at most {CASES[name].bar} points")
    beside = "-" if peer is None else f"{peer[0]:.1f} / {peer[1]:.1f} {peer[2]}"
    print(
        f"{name:20}{scheme:8}{found.images:7}{found.top1_float:8.2f}{found.top1:9.2f}"
        f"{found.drop:7.2f}{found.agreement:8.2f}  {beside:16}{seconds:5.0f} s  {', '.join(notes)}",
        flush=True,
    )
    return not notes


def print_mean(scheme: str, drops: dict[str, float]) -> bool:
    """Print the mean drop of the networks that have a bar, and whether it is met."""
    if not set(AVERAGED) <= drops.keys() or scheme not in BARS:
        return True
    mean = float(np.mean([drops[name] for name in AVERAGED]))
    good = mean <= BARS[scheme]
    verdict = "met" if good else "MISSED"
    print(
        f"{'mean of six':20}{scheme:8} drop {mean:.2f}, bar {BARS[scheme]}: {verdict}", flush=True
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
    parser.add_argument(
        "--simulate", action="store_true", help="run the same integers, not the C: quick"
    )
    kinds = [kind.value for kind in WeightRounding]
    parser.add_argument(
        "--weight-rounding", choices=kinds, default="optimized", help="as qmc compile"
    )
    parser.add_argument("--limit", type=int, help="first N images of each set, in its own order")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    columns = f"{'float':>8}{'integer':>9}{'drop':>7}{'agree':>8}  best peer"
    print(f"{'network':20}{'bits':8}{'images':>7}{columns}")
    measure = simulate_and_measure if arguments.simulate else compile_and_measure
    data, good = arguments.shared / "data", True
    rounding = WeightRounding(arguments.weight_rounding)
    for scheme in arguments.scheme:
        drops = {}
        for name in arguments.network:
            began = time.monotonic()
            found = measure(data, CASES[name], scheme, arguments.limit, rounding)
            drops[name] = found.drop
            good &= print_row(name, scheme, found, time.monotonic() - began)
        good &= print_mean(scheme, drops)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
