"""Bit planes against plain integers: matrices, and whole convolutions of the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from single_layer import integer_layer, output_shape, quantizations, windowed

from qmc.arithmetic import QuantParams
from qmc.bit_planes import accumulate_by_planes, from_planes, product_by_planes, to_planes
from qmc.layer import Layer, Op
from qmc.network import Parameters
from qmc.reference import accumulate

_WIDTHS = st.integers(1, 8)


@given(bits=_WIDTHS, signed=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_planes_hold_signs_and_give_the_codes_back(bits: int, signed: bool, seed: int) -> None:
    low = -(1 << (bits - 1)) if signed else 0
    codes = np.random.default_rng(seed).integers(low, low + (1 << bits), (3, 5))
    planes = to_planes(codes, bits, signed=signed)
    assert planes.shape == (bits, 3, 5)
    assert set(np.unique(planes)) <= {-1, 1}
    assert np.array_equal(from_planes(planes, signed=signed), codes)


@given(w_bits=_WIDTHS, x_bits=_WIDTHS, depth=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_product_by_planes_equals_the_integer_product(
    w_bits: int, x_bits: int, depth: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-(1 << (w_bits - 1)), 1 << (w_bits - 1), (3, depth))
    inputs = rng.integers(0, 1 << x_bits, (depth, 4))
    assert np.array_equal(product_by_planes(weights, w_bits, inputs, x_bits), weights @ inputs)


def test_planes_code_outside_its_width_is_refused() -> None:
    with pytest.raises(ValueError, match="codes must be -2 to 1 in 2 bits, found -2 to 2"):
        to_planes(np.array([-2, 2]), 2, signed=True)


@settings(max_examples=40)
@given(windowed(Op.CONV), quantizations(), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_convolution_by_planes_equals_the_integer_convolution(
    drawn: tuple[Layer, tuple[int, ...]], source: QuantParams, weight_bits: int, seed: int
) -> None:
    spec, shape = drawn
    bounds, rng = spec.bounds, np.random.default_rng(seed)
    parameters = Parameters(
        rng.normal(size=(bounds.G * bounds.K, bounds.C, bounds.R, bounds.S)).astype(np.float32),
        np.zeros(bounds.G * bounds.K, np.float32),
    )
    shapes = {"x": shape, "y": output_shape(spec)}
    params = {"x": source, "y": QuantParams(8, 0.1, 128)}
    layer = integer_layer(spec, shapes, params, parameters, weight_bits)
    codes = rng.integers(0, source.high + 1, shape).astype(np.int32)
    assert np.array_equal(accumulate_by_planes(layer, codes), accumulate(layer, codes))
