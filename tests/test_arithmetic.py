"""The requantization contract: golden vectors worked by hand, and plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.arithmetic import (
    AFFINE_CENTRE,
    QuantParams,
    Requant,
    Rounding,
    make_requant,
    make_rescale,
    odd_multiplier,
    requantize,
)
from qmc.errors import QuantizationError

#: Per rounding: multiplier, shift, then (accumulator, code) with zero point 3. Worked by hand:
#: 8388609 / 2^24 is a little above 1/2, so 1 -> 0.5 and -1 -> -0.5 lie just outside the tie;
#: tflite-double with 2^30 and shift 1 is 1/4 exactly, and rounds 0.25 -> 0.5 -> 1.
GOLDEN = {
    Rounding.HALF_UP: (8388609, 24, [(-3, 1), (-2, 2), (-1, 2), (0, 3), (1, 4), (2, 4), (3, 5)]),
    Rounding.FLOOR: (8388609, 24, [(-3, 1), (-2, 1), (-1, 2), (0, 3), (1, 3), (2, 4), (3, 4)]),
    Rounding.TFLITE_DOUBLE: (
        1 << 30,
        1,
        [(-6, 1), (-3, 2), (-1, 3), (1, 4), (3, 4), (5, 5)],
    ),
}


def one_channel(
    multiplier: int, shift: int, start: int, offset: int, rounding: Rounding
) -> Requant:
    m, s, b, c = (np.array([value], dtype=np.int32) for value in (multiplier, shift, start, offset))
    return Requant(m, s, b, c, rounding)


def evaluate(acc: int, requant: Requant, low: int = 0, high: int = 255) -> int:
    return int(requantize(np.array([[acc]]), requant, low, high)[0, 0])


def truncated_division(a: int, b: int) -> int:
    return a // b if a >= 0 else -(-a // b)


def plain_integers(acc: int, m: int, s: int, start: int, offset: int, rounding: Rounding) -> int:
    """The three formulas in unbounded integers; tflite-double as gemmlowp's fixedpoint.h says."""
    x = acc + start
    if rounding is Rounding.HALF_UP:
        return (m * x + (1 << (s - 1))) // (1 << s) + offset
    if rounding is Rounding.FLOOR:
        return m * x // (1 << s) + offset
    product = m * x
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    high = truncated_division(product + nudge, 1 << 31)
    remainder = high % (1 << s)
    threshold = ((1 << s) - 1) // 2 + (1 if high < 0 else 0)
    return high // (1 << s) + (1 if remainder > threshold else 0) + offset


@pytest.mark.parametrize("rounding", list(Rounding))
def test_requantize_golden_vectors(rounding: Rounding) -> None:
    multiplier, shift, vectors = GOLDEN[rounding]
    requant = one_channel(multiplier, shift, 0, 3, rounding)
    assert [(acc, evaluate(acc, requant)) for acc, _ in vectors] == vectors


@given(
    st.integers(-(2**30), 2**30),
    st.integers(-(2**30), 2**30),
    st.integers(-(2**20), 2**20),
    st.floats(1e-6, 0.9),
    st.sampled_from(list(Rounding)),
)
def test_requantize_equals_unbounded_integers(
    acc: int, start: int, offset: int, scale: float, rounding: Rounding
) -> None:
    exponent = int(np.frexp(scale)[1])
    multiplier, shift = int(scale * 2 ** (24 - exponent)) | 1, 24 - exponent
    if rounding is Rounding.TFLITE_DOUBLE:
        multiplier, shift = int(scale * 2 ** (31 - exponent)), -exponent
    requant = one_channel(multiplier, shift, start, offset, rounding)
    exact = plain_integers(acc, multiplier, shift, start, offset, rounding)
    low, high = -(2**31), 2**31 - 1
    assert evaluate(acc, requant, low, high) == max(low, min(high, exact))


@given(st.floats(1e-9, 1e4))
def test_odd_multiplier_is_odd_and_close(scale: float) -> None:
    (multiplier,), (shift,) = odd_multiplier(np.array([scale]))
    assert multiplier % 2 == 1
    assert 2**23 < multiplier < 2**24
    assert abs(multiplier / 2.0**shift / scale - 1) <= 2**-23


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e-30, 1e30])
def test_odd_multiplier_of_an_impossible_scale_raises(scale: float) -> None:
    with pytest.raises(ValueError, match="scale"):
        odd_multiplier(np.array([scale]))


@given(
    st.floats(2**-13, 0.49),
    st.integers(-(2**20), 2**20),
    st.integers(0, 255),
    st.integers(-(2**21), 2**21),
)
def test_affine_form_is_within_half_a_step(
    scale: float, bias: int, zero_point: int, acc: int
) -> None:
    bound = np.array([2**21 + 2**20])
    requant = make_requant(
        "layer", np.array([scale]), np.array([bias]), bound, QuantParams(8, 1.0, zero_point)
    )
    assert abs(int(requant.start[0]) - bias - AFFINE_CENTRE) <= 2**15  # the affine form was taken
    exact = (acc + bias) * scale + zero_point
    code = evaluate(acc, requant, -(2**31), 2**31 - 1)
    # half a step, the start's remainder, and the relative error of a 24-bit multiplier
    assert abs(code - exact) <= 0.5 + 2.0**-7 + abs(acc + bias) * scale * 2.0**-23 * 8


def test_affine_form_is_not_taken_where_it_is_inexact() -> None:
    requant = make_requant(
        "layer", np.array([0.7]), np.array([5]), np.array([100]), QuantParams(8, 1.0, 9)
    )
    assert (int(requant.start[0]), int(requant.offset[0])) == (5, 9)


@pytest.mark.parametrize("bound", [2**31, 2**40])
def test_accumulator_beyond_int32_raises(bound: int) -> None:
    with pytest.raises(QuantizationError, match="int32 holds 2147483647"):
        make_requant(
            "layer", np.array([0.1]), np.array([0]), np.array([bound]), QuantParams(8, 1.0, 0)
        )


@given(st.floats(1e-3, 4.0), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_rescale_rounds_to_nearest(scale: float, zero_in: int, zero_out: int, x: int) -> None:
    rescale = make_rescale(scale, zero_in, zero_out)
    y = (rescale.multiplier * x + rescale.offset) >> rescale.shift
    assert abs(y - zero_out - scale * (x - zero_in)) <= 0.5 + 1e-3


@given(st.integers(1, 16), st.floats(1e-3, 10.0), st.data())
def test_quantize_then_dequantize_errs_by_half_a_scale(
    bits: int, scale: float, data: st.DataObject
) -> None:
    params = QuantParams(bits, scale, data.draw(st.integers(0, (1 << bits) - 1)))
    low, high = -params.zero_point * scale, (params.high - params.zero_point) * scale
    real = np.array(data.draw(st.lists(st.floats(low, high), min_size=1, max_size=9)))
    error = np.abs(params.dequantize(params.quantize(real)) - real)
    assert error.max() <= scale / 2 + max(abs(low), abs(high)) * 1e-6


def test_quantize_saturates_and_rounds_halves_up() -> None:
    params = QuantParams(4, 1.0, 5)
    real = np.array([-100.0, -5.6, -0.5, 0.5, 9.4, 9.6, 1e9])
    np.testing.assert_array_equal(params.quantize(real), [0, 0, 5, 6, 14, 15, 15])


@pytest.mark.parametrize(
    ("bits", "scale", "zero"), [(0, 1.0, 0), (17, 1.0, 0), (8, 0.0, 0), (8, 1.0, 256)]
)
def test_quant_params_out_of_range_raise(bits: int, scale: float, zero: int) -> None:
    with pytest.raises(ValueError, match=r"bad quantization|zero point"):
        QuantParams(bits, scale, zero)
