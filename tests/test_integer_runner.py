"""The fast runner against the reference, whose codes it has to give bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from codegen.networks import Builder, every_format, every_op
from hypothesis import given, settings
from hypothesis import strategies as st
from single_layer import integer_layer, output_shape, quantizations, windowed

from qmc.arithmetic import QuantParams, Rounding
from qmc.integer import IntegerNetwork
from qmc.integer_runner import IntegerRunner
from qmc.layer import Op
from qmc.network import Parameters, Tensor
from qmc.reference import run_network

seeds = st.integers(0, 2**32 - 1)


def check(network: IntegerNetwork, codes: Any) -> None:
    expected = run_network(network, codes)[network.output]
    found = IntegerRunner(network).run(codes)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60)
@given(windowed(Op.CONV), quantizations(), quantizations(), st.integers(2, 8), seeds)
def test_convolution_gives_the_codes_of_the_reference(
    drawn: Any, source: QuantParams, output: QuantParams, bits: int, seed: int
) -> None:
    spec, shape = drawn
    rng, b = np.random.default_rng(seed), spec.bounds
    weights = rng.normal(size=(b.G * b.K, b.C, b.R, b.S)).astype(np.float32)
    parameters = Parameters(weights, rng.normal(size=len(weights)).astype(np.float32))
    shapes, params = {"x": shape, "y": output_shape(spec)}, {"x": source, "y": output}
    layer = integer_layer(spec, shapes, params, parameters, bits)
    tensors = {name: Tensor(name, extents) for name, extents in shapes.items()}
    codes = rng.integers(0, source.high + 1, (3, *shape[1:])).astype(np.int32)
    check(IntegerNetwork("net", tensors, params, (layer,), "x", "y"), codes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [every_op, every_format])
def test_every_operation_gives_the_codes_of_the_reference(make: Any, seed: int) -> None:
    net = make(seed)
    check(net.network(), net.codes(5))


@pytest.mark.parametrize("rounding", list(Rounding))
def test_every_rounding_gives_the_codes_of_the_reference(rounding: Rounding) -> None:
    net = Builder((1, 4, 7, 5), 8, 3)
    net.conv("input", 6, (3, 2), (8, 8), pads=(1, 0, 1, 1), rounding=rounding)
    check(net.network(), net.codes(5))


@pytest.mark.parametrize(("channels", "bits"), [(300, 8), (1500, 8), (9000, 8), (100, 16)])
def test_sums_beyond_the_floats_stay_exact(channels: int, bits: int) -> None:
    """At 8 bits of one part, of two parts, and of none; at 16 bits of none."""
    net = Builder((1, channels), bits, 5)
    net.quantization["input"] = QuantParams(bits, 0.05, 0)
    net.dense("input", 3, (8, 16))
    layer = net.layers[0]
    assert layer.weights is not None
    assert layer.requant is not None
    weights = np.full_like(layer.weights, 127)
    # Sums near the limit, one code apart for each unit of the sum: nothing can hide a lost bit.
    requant = replace(
        layer.requant,
        multiplier=np.full_like(layer.requant.multiplier, (1 << 23) + 1),
        shift=np.full_like(layer.requant.shift, 23),
        start=np.full_like(layer.requant.start, -127 * channels * ((1 << bits) - 2)),
    )
    net.layers[0] = replace(layer, weights=weights, requant=requant, low=0, high=65535)
    network = net.network()
    high = (1 << bits) - 1
    codes = np.full((4, channels), high - 2, np.int32)
    codes[np.arange(1, 4), np.arange(1, 4) * 7] = high
    codes[:, ::2] = high
    check(network, codes)


def test_classes_do_not_depend_on_threads_or_batches() -> None:
    net = Builder((1, 4, 7, 5), 8, 3)
    net.conv("input", 6, (7, 5), (8, 8))
    network = net.network()
    inputs = np.random.default_rng(1).normal(size=(19, 4, 7, 5)).astype(np.float32)
    codes = network.quantization[network.input].quantize(inputs)
    expected = run_network(network, codes)[network.output].reshape(19, -1).argmax(axis=1)
    for jobs in (1, 3):
        np.testing.assert_array_equal(IntegerRunner(network).classify(inputs, jobs), expected)
