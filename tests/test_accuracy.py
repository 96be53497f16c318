"""Reference networks at w8a8: the integer network answers as the float model does.

Few images, so that the tests stay short; the whole sets are for ``benchmarks/accuracy.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qmc.calibrate import calibrate
from qmc.data import Dataset, Use, load_dataset, load_preprocess
from qmc.float_model import float_top1
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.network import Network
from qmc.quantize import quantize
from qmc.reference import run_network
from qmc.widths import Widths

CIFAR = ("cifar10jpg-train-calib.npz", "cifar10jpg-test-dev.npz")
#: Model, calibration and evaluation data, images, least share of equal answers. The shares are what
#: full sets reach (94 to 99 %) less about three standard errors of so few images.
CASES = [
    ("efficientnet_lite0_imagenet", *["imagenet-sample-dev"] * 2, 24, 0.83),
    ("mobilenetv1_075_imagenet", *["imagenet-sample-dev"] * 2, 32, 0.84),
    ("squeezenet1_1_imagenet", *["imagenet-sample-dev"] * 2, 32, 0.81),
    ("mobilenetv2_1.0_imagenette", *["imagenette160-dev"] * 2, 32, 0.90),
    ("mobilenetv3_small_035_textcls", *["textlines-dev.npz"] * 2, 100, 0.90),
    ("resnet20_cifar10", *CIFAR, 100, 0.92),
    ("resnet56_cifar10", *CIFAR, 60, 0.90),
]


def open_data(shared: Path, model: Path, network: Network, name: str, use: Use) -> Dataset:
    shape = network.tensors[network.input].shape
    return load_dataset(shared / "data" / "datasets" / name, use, shape, load_preprocess(model))


def every(data: Dataset, count: int) -> Dataset:
    """About ``count`` inputs spread over the whole set."""
    indices = range(0, len(data), max(1, len(data) // count))[:count]
    labels = None if data.labels is None else data.labels[list(indices)]
    return Dataset(data.path, data.shape, count, labels, lambda index: data.load(indices[index]))


def integer_top1(network: IntegerNetwork, data: Dataset) -> np.ndarray:
    source = network.quantization[network.input]
    outputs = [run_network(network, source.quantize(x))[network.output] for x in data.batches(8)]
    return np.concatenate([output.reshape(len(output), -1).argmax(axis=1) for output in outputs])


@pytest.mark.parametrize(("name", "calib", "evaluation", "count", "share"), CASES)
def test_integer_network_agrees_with_the_float_model(
    shared: Path, name: str, calib: str, evaluation: str, count: int, share: float
) -> None:
    model = shared / "data" / "models" / f"{name}.onnx"
    _, network = load_network(model)
    one_batch = every(open_data(shared, model, network, calib, Use.CALIB), 32)
    integer = quantize(network, calibrate(network, one_batch, Widths()))
    images = every(open_data(shared, model, network, evaluation, Use.EVAL), count)
    assert np.mean(integer_top1(integer, images) == float_top1(model, images)) >= share


def test_resnet8_loses_less_than_a_point_on_the_whole_set(shared: Path) -> None:
    model = shared / "data" / "models" / "resnet8_cifar10jpg.onnx"
    _, network = load_network(model)
    calib = open_data(shared, model, network, CIFAR[0], Use.CALIB)
    integer = quantize(network, calibrate(network, calib, Widths()))
    images = open_data(shared, model, network, CIFAR[1], Use.EVAL)
    chosen, expected = integer_top1(integer, images), float_top1(model, images)
    assert np.mean(expected == images.labels) == pytest.approx(0.829, abs=1e-6)
    assert np.mean(chosen == images.labels) >= np.mean(expected == images.labels) - 0.01
    assert np.mean(chosen == expected) >= 0.97
