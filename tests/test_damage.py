"""SQNR of every layer of the integer network against float."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qmc.calibrate import calibrate
from qmc.damage import Damage, Squares, layer_damage
from qmc.network import Network
from qmc.quantize import quantize
from qmc.reference import run_layer, run_network
from qmc.widths import Widths
from tests.float_network import run_network as run_float
from tests.test_calibrate import inputs, network


def damage_at(bits: int, net: Network, images: np.ndarray) -> dict[str, Damage]:
    integer = quantize(net, calibrate(net, [inputs()], Widths(bits, bits)))
    return layer_damage(net, integer, [image[None] for image in images])


def decibel(signal: np.ndarray, found: np.ndarray) -> float:
    return 10 * np.log10(np.sum(signal**2) / np.sum((signal - found) ** 2))


def test_damage_equals_sqnr_of_a_float64_network() -> None:
    net, images = network(), inputs(1, 3)
    integer = quantize(net, calibrate(net, [inputs()], Widths(4, 6)))
    found = layer_damage(net, integer, [image[None] for image in images])
    codes = run_network(integer, integer.quantization["x"].quantize(images))
    assert list(found) == [layer.name for layer in net.layers]
    for layer in net.layers:
        real = np.concatenate([run_float(replace(net, output=layer.output), x) for x in images])
        got = integer.quantization[layer.output].dequantize(codes[layer.output])
        assert found[layer.name].sqnr_db == pytest.approx(decibel(real, got), abs=0.02)


def test_own_damage_leaves_out_what_came_before() -> None:
    net, images = network(), inputs(2, 1)
    integer = quantize(net, calibrate(net, [inputs()], Widths(3, 8)))
    own = layer_damage(net, integer, [images])["left"].own_sqnr_db
    codes = run_network(integer, integer.quantization["x"].quantize(images))
    source = integer.quantization["b"].dequantize(codes["b"])
    parameters = net.parameters["left"]
    real = np.einsum("kc,ncpq->nkpq", parameters.weights[:, :, 0, 0], source.astype(np.float64))
    real += parameters.bias[:, None, None]
    layer = next(one for one in integer.layers if one.layer.name == "left")
    got = layer.output.dequantize(run_layer(layer, [codes["b"]]))
    assert own == pytest.approx(decibel(real, got), abs=0.02)


def test_damage_shrinks_with_bits_and_moves_cost_nothing() -> None:
    net, images = network(), inputs(3, 2)
    wide, narrow = damage_at(8, net, images), damage_at(4, net, images)
    assert narrow["flat"].own_sqnr_db is None
    for name in ("stem", "left"):  # of "point" only what its rectified sum heeds has codes
        gain = float(wide[name].own_sqnr_db or 0) - float(narrow[name].own_sqnr_db or 0)
        assert 15 < gain < 33  # four bits at 6.02 dB each, less what clipping takes


def test_squares_of_equal_tensors_are_no_number() -> None:
    squares = Squares()
    squares.add(np.ones(3, np.float32), np.ones(3, np.float32))
    assert squares.sqnr_db() is None


def test_squares_of_a_silent_layer_stay_finite() -> None:
    squares = Squares()
    squares.add(np.zeros(3, np.float32), np.ones(3, np.float32))
    assert squares.sqnr_db() == -150
