"""Do cheap sensitivities rank tensors and widths as measured drops do? Spearman's rank correlation.

Usage::

    python benchmarks/sensitivity_rank.py [--shared DIR] [--network NAME ...] [--images N]

The truth is measured on N labelled images of the ``eval`` part, one tensor quantized at a time: the
share that is no longer classified right (*drop*), and the rise of the cross entropy (*loss*), which
is less coarse. Beside it stand, from 64 calibration images without labels, the divergence (``kl``)
and its second-order estimate, and from no image at all the rounding error (``weights``).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from qmc.bit_groups import SEARCH_WIDTHS
from qmc.cheap_sensitivity import second_order_sensitivities, weight_sensitivities
from qmc.data import Dataset, Use, load_dataset, load_preprocess
from qmc.find_sensitivities import probe_images
from qmc.frontend import load_network
from qmc.measure_sensitivity import make_probe, measure_sensitivities
from qmc.observe import observe
from qmc.rounded_tensors import round_tensors
from qmc.sensitivity import Sensitivities, Source

CASES = {
    "resnet8": ("resnet8_cifar10jpg", "cifar10jpg-train-calib.npz", "cifar10jpg-test-dev.npz"),
    "resnet20": ("resnet20_cifar10", "cifar10jpg-train-calib.npz", "cifar10jpg-test-dev.npz"),
    "mobilenetv2": ("mobilenetv2_1.0_imagenette", "imagenette160-dev", "imagenette160-dev"),
    "mobilenetv3": ("mobilenetv3_small_035_textcls", "textlines-dev.npz", "textlines-dev.npz"),
    "squeezenet": ("squeezenet1_1_imagenet", "imagenet-sample-dev", "imagenet-sample-dev"),
}


def row(found: Sensitivities, operand: str) -> list[float]:
    """All values of an operand, tensor by tensor and width by width."""
    table = found.weights if operand == "W" else found.activations
    return [values[bits] for values in table.values() for bits in SEARCH_WIDTHS]


def timed(name: str, work: Callable[[], Sensitivities]) -> Sensitivities:
    began = time.process_time()
    found = work()
    print(f"  {name}: {time.process_time() - began:.1f} CPU s", flush=True)
    return found


def report(arguments: argparse.Namespace, name: str) -> None:
    model, calib, labelled = CASES[name]
    data = arguments.shared / "data"
    path = data / "models" / f"{model}.onnx"
    network = load_network(path)[1]
    shape, recipe = network.tensors[network.input].shape, load_preprocess(path, None)

    def images(where: str, use: Use, limit: int | None) -> Dataset:
        return load_dataset(data / "datasets" / where, use, shape, recipe, limit)

    known, judged = images(calib, Use.CALIB, None), images(labelled, Use.EVAL, None)
    chosen = known.inputs(probe_images(len(known)))
    seen = observe(network, [chosen[i : i + 16] for i in range(0, len(chosen), 16)])
    rounded = round_tensors(network, seen, SEARCH_WIDTHS)
    probe = make_probe(chosen, None, arguments.jobs)
    count = min(arguments.images, len(judged))
    indices = [int(i) for i in np.arange(count) * len(judged) // count]
    assert judged.labels is not None
    inputs, labels = judged.inputs(indices), judged.labels[indices]
    print(f"{name}, {count} labelled images:", flush=True)
    cheap = {
        "kl": timed("kl", lambda: measure_sensitivities(network, rounded, probe)),
        "second-order": timed(
            "second-order",
            lambda: second_order_sensitivities(network, rounded, seen.histograms, probe),
        ),
        "weights": timed("weights", lambda: weight_sensitivities(network)),
    }
    for measure in (Source.DROP, Source.LOSS):
        judge = make_probe(inputs, labels, arguments.jobs, measure)
        truth = measure_sensitivities(network, rounded, judge)
        for operand in ("W", "A"):
            expected = row(truth, operand)
            told = {
                key: spearmanr(row(found, operand), expected)[0] for key, found in cheap.items()
            }
            cells = "  ".join(f"{key} {value:+.3f}" for key, value in told.items())
            print(f"  {measure} of {operand}: {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    beside = Path(__file__).parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="folder that holds data/")
    parser.add_argument("--network", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    for name in arguments.network:
        report(arguments, name)


if __name__ == "__main__":
    main()
