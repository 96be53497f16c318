"""Which float form evaluates a layer's requantization exactly, and its constants.

The contract (docs/arithmetic.md) is ``((m*X + half) >> s) + offset`` with X = acc + start. A fused
multiply-add ``X * m/2^s + (1.5 * 2^23 + offset)`` rounds the exact real number once, in a binade
whose unit is 1; m is odd, so there are no ties and the bits of the result are the contract's
integer. What each form needs besides is checked here, channel by channel, on the actual bounds of
the accumulator; docs/vector-kernels.md has the argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import AFFINE_CENTRE, IntArray, Requant, Rounding
from qmc.integer import IntegerLayer
from qmc.targets import KernelFamily

#: Numbers by which ``qmc_requantize`` of vector.h knows the roundings.
ROUNDINGS = {Rounding.HALF_UP: 0, Rounding.FLOOR: 1, Rounding.TFLITE_DOUBLE: 2}
#: Bits of 1.5 * 2^23 as a float32, and what they exceed that number by as integers.
_MAGIC = 0x4B400000
_LIFT = _MAGIC - AFFINE_CENTRE
_BINADE = (1 << 23, (1 << 24) - 1)
_EXACT_INT = (1 << 24) - 1
_NARROW = (1 << 15) - 8
#: What kernels subtract from bytes to make them signed.
_SIGN = 128
#: What the high half of ``multiplier * 2^7 * X`` leaves of a shift: at least 1, at most 31.
HIGH_SHIFT = 25
_LEAST_SHIFT = HIGH_SHIFT + 1


class Form(StrEnum):
    """How a kernel turns sums into bytes; the values are C."""

    AFFINE_NARROW = "0"  # sums are floats by their bits; results fit 16 bits
    AFFINE = "QMC_SATURATE"  # results are clamped before they are narrowed
    CONVERTED_NARROW = "QMC_CONVERT"  # sums are converted to floats; results fit 16 bits
    CONVERTED = "QMC_CONVERT | QMC_SATURATE"  # both
    HIGH = "QMC_HIGH"  # the high half of a 32-bit product, and a rounding shift
    RAW = "QMC_RAW"  # the contract in 64-bit integers


@dataclass(frozen=True, slots=True, eq=False)
class VectorRequant:
    """Constants of all channels in their natural order.

    Attributes:
        form: of the whole layer.
        is_short: whether the sum of any two products fits 16 bits, by the largest weight.
        start: (channels,) int32, where sums begin.
        scale: (channels,) float32, m / 2^s.
        offset: (channels,) float32.
        lift: bits by which sums are shifted left before they are scaled.
    """

    form: Form
    is_short: bool
    start: NDArray[np.int32]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    lift: int = 0

    def flags(self, is_wide: bool) -> str:
        """The form as a C argument; ``is_wide`` where the kernel finds its weights widened."""
        words = [self.form.value, "QMC_SHORT" * self.is_short, "QMC_WIDE" * is_wide]
        words += [f"QMC_LIFT({self.lift})"] * bool(self.lift)
        return " | ".join(word for word in words if word)


def vector_requant(integer: IntegerLayer, family: KernelFamily) -> VectorRequant:
    """Choose the cheapest exact form of those that the unit has."""
    requant = integer.requant
    assert requant is not None
    is_high = family.requant == "integer"
    form = _choose_integer(integer, requant) if is_high else _choose(integer, requant)
    lift = _LIFT if form in (Form.AFFINE_NARROW, Form.AFFINE) else 0
    exact = form not in (Form.HIGH, Form.RAW)
    scale = np.ldexp(requant.multiplier.astype(np.float64), -requant.shift.astype(np.int64))
    offset = AFFINE_CENTRE + requant.offset.astype(np.int64)
    assert integer.weights is not None
    weights = integer.weights.astype(np.int64).reshape(len(integer.weights), -1)
    shifted = _SIGN * weights.sum(axis=1) if family.signed_inputs else 0
    return VectorRequant(
        form,
        _is_short(integer, family),
        (requant.start.astype(np.int64) + lift + shifted).astype(np.int32),
        np.where(exact, scale, 0).astype(np.float32),
        np.where(exact, offset, 0).astype(np.float32),
        _lift(requant) if form is Form.HIGH else 0,
    )


def _is_short(integer: IntegerLayer, family: KernelFamily) -> bool:
    """Whether the sum of any two products fits 16 bits."""
    assert integer.weights is not None
    low, high = int(integer.weights.min()), int(integer.weights.max())
    if family.signed_inputs:
        return 2 * _SIGN * max(-low, high) < 1 << 15
    most = 2 * integer.inputs[0].high
    return most * high < 1 << 15 and most * low >= -(1 << 15)


def _choose(integer: IntegerLayer, requant: Requant) -> Form:
    if requant.rounding is not Rounding.HALF_UP or integer.output.bits > 8:
        return Form.RAW
    if np.abs(AFFINE_CENTRE + requant.offset.astype(np.int64)).max() >= 1 << 24:
        return Form.RAW
    if requant.shift.max() > 120:
        return Form.RAW
    low, high = _range(integer, requant)
    if _is_affine(integer, requant, low, high):
        ends = [(bound + _LIFT).astype(np.int32).view(np.float32) for bound in (low, high)]
        return Form.AFFINE_NARROW if _fits_words(requant, *ends) else Form.AFFINE
    if _saturates(integer, requant, low, high, -_EXACT_INT, _EXACT_INT):
        return Form.CONVERTED_NARROW if _fits_words(requant, low, high) else Form.CONVERTED
    return Form.RAW


def _choose_integer(integer: IntegerLayer, requant: Requant) -> Form:
    """``(m*X + half) >> s`` from the high half of 2^7*m*X: floors nest, one rounding remains."""
    largest = max(np.abs(end).max() for end in _range(integer, requant))
    fits = int(largest) << _lift(requant) < 1 << 31
    is_plain = requant.rounding is Rounding.HALF_UP and integer.output.bits <= 8
    return Form.HIGH if fits and is_plain and requant.multiplier.max() < 1 << 24 else Form.RAW


def _lift(requant: Requant) -> int:
    """Bits by which X is shifted left, so that all shifts of the layer exceed 25."""
    return max(0, _LEAST_SHIFT - int(requant.shift.min()))


def high_constants(requant: Requant) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Factors and remaining shifts of :attr:`Form.HIGH`, by channel.

    Where more than 31 bits would remain, ``|m*X| < 2^(s-1)``: the result is 0, by a factor of 0.
    """
    shift = requant.shift.astype(np.int64) - HIGH_SHIFT + _lift(requant)
    factor = np.where(shift <= 31, requant.multiplier.astype(np.int64) << 7, 0)
    return factor.astype(np.int32), np.where(shift <= 31, shift, 1).astype(np.uint8)


def _range(integer: IntegerLayer, requant: Requant) -> tuple[IntArray, IntArray]:
    """Least and largest X of every channel; every partial sum lies between them, too."""
    assert integer.weights is not None
    weights = integer.weights.astype(np.int64).reshape(len(integer.weights), -1)
    most = integer.inputs[0].high
    start = requant.start.astype(np.int64)
    return (
        start + np.minimum(weights, 0).sum(axis=1) * most,
        start + np.maximum(weights, 0).sum(axis=1) * most,
    )


def _is_affine(integer: IntegerLayer, requant: Requant, low: IntArray, high: IntArray) -> bool:
    """Bits read as floats: X itself inside the binade; beyond it monotone, so saturation decides.

    ``s >= 25`` leaves no tie inside the binade. The bits must stay those of positive, normal
    floats.
    """
    return bool(
        requant.shift.min() >= 25
        and (low + _LIFT).min() >= 1 << 23
        and (high + _LIFT).max() < 0x7F000000
        and _saturates(integer, requant, low, high, *_BINADE)
    )


def _saturates(
    integer: IntegerLayer,
    requant: Requant,
    low: IntArray,
    high: IntArray,
    first: int,
    last: int,
) -> bool:
    """Whether every X outside first ... last has a result at or beyond the clamp limits."""
    below = (low >= first) | (_evaluate(requant, first) < integer.low)
    above = (high <= last) | (_evaluate(requant, last) > integer.high)
    return bool(np.all(below & above))


def _evaluate(requant: Requant, x: int) -> IntArray:
    multiplier, shift = requant.multiplier.astype(np.int64), requant.shift.astype(np.int64)
    rounded = (multiplier * x + (np.int64(1) << (shift - 1))) >> shift
    return np.asarray(rounded + requant.offset)


def _fits_words(requant: Requant, low: NDArray[np.generic], high: NDArray[np.generic]) -> bool:
    """Whether the float form's results at both ends, and so between, fit 16 bits before clamps."""
    scale = np.ldexp(requant.multiplier.astype(np.float64), -requant.shift.astype(np.int64))
    ends = [end.astype(np.float64) * scale + requant.offset for end in (low, high)]
    return bool(max(np.abs(end).max() for end in ends) < _NARROW)
