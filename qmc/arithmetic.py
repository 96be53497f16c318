"""The integer contract: how accumulators become output codes. Written out in docs/arithmetic.md.

    y = clamp(((multiplier * (acc + start) + half) >> shift) + offset, low, high)

with int64 products, ``>>`` a floor, ``multiplier`` odd and of 24 bits, so that no unsaturated value
is a tie and every rounding mode agrees. ``start`` and ``offset`` carry bias and zero points and,
where a proof allows, the affine shift that lets SIMD code evaluate the same formula with one float
FMA.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from qmc.errors import QuantizationError

IntArray = NDArray[np.int64]

#: Centre of the float32 binade whose unit is 1: 1.5 * 2^23.
AFFINE_CENTRE = 3 << 22
#: Candidate shifts d of the affine start, in [-2^15, 2^15); more would gain little precision.
_AFFINE_SHIFTS = np.arange(-(1 << 15), 1 << 15, 64, dtype=np.int64)
_INT32_MAX = (1 << 31) - 1


class Rounding(StrEnum):
    """How a scaled accumulator is rounded to a code."""

    HALF_UP = "half-up"  # one rounding; the default
    FLOOR = "floor-shift"  # the same formula without the half: PULP, DIANA
    TFLITE_DOUBLE = "tflite-double"  # two roundings, as TensorFlow Lite's reference kernels


@dataclass(frozen=True, slots=True)
class QuantParams:
    """Asymmetric quantization of an activation tensor: real = scale * (code - zero_point).

    Codes are unsigned, 0 to 2^bits - 1.
    """

    bits: int
    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (1 <= self.bits <= 16 and self.scale > 0 and np.isfinite(self.scale)):
            raise ValueError(f"bad quantization parameters: {self.bits} bits, scale {self.scale}")
        if not 0 <= self.zero_point <= self.high:
            raise ValueError(f"zero point {self.zero_point} outside 0..{self.high}")

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << self.bits) - 1

    def quantize(self, real: NDArray[np.floating]) -> NDArray[np.int32]:
        """Nearest codes, halves up, saturated."""
        codes = np.floor(real.astype(np.float64) / self.scale + 0.5) + self.zero_point
        clipped: NDArray[np.int32] = np.clip(codes, 0, self.high).astype(np.int32)
        return clipped

    def dequantize(self, codes: NDArray[np.integer]) -> NDArray[np.float32]:
        """Real values of ``codes``."""
        return ((codes.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Requant:
    """Per-channel constants of the contract, each (channels,) int32."""

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    start: NDArray[np.int32]
    offset: NDArray[np.int32]
    rounding: Rounding = Rounding.HALF_UP


@dataclass(frozen=True, slots=True)
class Rescale:
    """y = (multiplier * x + offset) >> shift, the half already in ``offset`` (int64)."""

    multiplier: int
    shift: int
    offset: int


def requantize(
    acc: NDArray[np.integer], requant: Requant, low: int, high: int, axis: int = 1
) -> NDArray[np.int32]:
    """Evaluate the contract.

    Args:
        acc: accumulators without bias, int32 range; channels on ``axis``.
        requant: constants of each channel.
        low: smallest output code.
        high: largest output code.
        axis: the channel axis.

    Returns:
        Codes of the shape of ``acc``.
    """
    shape = [1] * acc.ndim
    shape[axis] = -1
    multiplier, shift, start, offset = (
        values.astype(np.int64).reshape(shape)
        for values in (requant.multiplier, requant.shift, requant.start, requant.offset)
    )
    x = acc.astype(np.int64) + start
    match requant.rounding:
        case Rounding.HALF_UP:
            y = (multiplier * x + (np.int64(1) << (shift - 1))) >> shift
        case Rounding.FLOOR:
            y = (multiplier * x) >> shift
        case Rounding.TFLITE_DOUBLE:
            y = _tflite_double(x, multiplier, shift)
    codes: NDArray[np.int32] = np.clip(y + offset, low, high).astype(np.int32)
    return codes


def _tflite_double(x: IntArray, multiplier: IntArray, shift: IntArray) -> IntArray:
    """SaturatingRoundingDoublingHighMul, then RoundingDivideByPOT (halves away from zero).

    Source: gemmlowp fixedpoint/fixedpoint.h, as used by TensorFlow Lite's reference kernels. The
    multiplier is Q31; it never equals -2^31, so no saturation occurs.
    """
    product = x * multiplier
    nudge = np.where(product >= 0, np.int64(1 << 30), np.int64(1 - (1 << 30)))
    nudged = product + nudge
    high = np.where(nudged >= 0, nudged >> 31, -((-nudged) >> 31))  # C division truncates
    mask = (np.int64(1) << shift) - 1
    threshold = (mask >> 1) + (high < 0)
    return np.asarray((high >> shift) + ((high & mask) > threshold), dtype=np.int64)


def odd_multiplier(scale: NDArray[np.float64]) -> tuple[IntArray, IntArray]:
    """Write each scale as m / 2^s with m odd, 2^23 < m < 2^24 (relative error at most 2^-23).

    Raises:
        ValueError: a scale is not positive and finite, or needs a shift outside 1..62.
    """
    if not (np.all(np.isfinite(scale)) and np.all(scale > 0)):
        raise ValueError("scales must be positive and finite")
    mantissa, exponent = np.frexp(scale)  # scale = mantissa * 2^exponent, 0.5 <= mantissa < 1
    multiplier = 2 * np.floor(mantissa * 2.0**23).astype(np.int64) + 1
    shift = 24 - exponent.astype(np.int64)
    if shift.min() < 1 or shift.max() > 62:
        raise ValueError(f"scale {scale[np.argmax(np.abs(exponent))]:g} is out of range")
    return multiplier, shift


def make_rescale(scale: float, zero_in: int, zero_out: int) -> Rescale:
    """Rescale of codes: round(scale * (x - zero_in)) + zero_out."""
    multiplier, shift = (int(v[0]) for v in odd_multiplier(np.array([scale])))
    offset = (zero_out << shift) + (1 << (shift - 1)) - multiplier * zero_in
    return Rescale(multiplier, shift, offset)


def make_requant(
    layer: str,
    scale: NDArray[np.float64],
    bias: IntArray,
    accumulator_bound: IntArray,
    output: QuantParams,
    rounding: Rounding = Rounding.HALF_UP,
) -> Requant:
    """Constants that turn accumulators of real scale ``scale * output.scale`` into output codes.

    Args:
        layer: name for messages.
        scale: (channels,) s_x * s_w / s_y.
        bias: (channels,) integer bias at scale s_x * s_w, input zero point already folded in.
        accumulator_bound: (channels,) proved bound of |acc + bias|.
        output: quantization of the output.
        rounding: half-up unless a switch asks otherwise.

    Raises:
        QuantizationError: the accumulator or a constant may leave int32.
    """
    if accumulator_bound.max(initial=0) > _INT32_MAX or np.abs(bias).max(initial=0) > _INT32_MAX:
        channel = int(np.argmax(np.maximum(accumulator_bound, np.abs(bias))))
        raise QuantizationError(
            layer,
            f"channel {channel}: the accumulator may reach {int(accumulator_bound[channel])}, "
            f"int32 holds {_INT32_MAX}; use fewer bits or a larger weight scale",
        )
    zero = np.full_like(bias, output.zero_point)
    if rounding is Rounding.TFLITE_DOUBLE:
        multiplier, shift = _q31_multiplier(layer, scale)
        return _requant(multiplier, shift, bias, zero, rounding)
    multiplier, shift = odd_multiplier(scale)
    if rounding is Rounding.HALF_UP and output.bits <= 8:
        start, offset = _affine(scale, multiplier, shift, bias, zero, accumulator_bound)
        return _requant(multiplier, shift, start, offset, rounding)
    return _requant(multiplier, shift, bias, zero, rounding)


def _requant(
    multiplier: IntArray, shift: IntArray, start: IntArray, offset: IntArray, rounding: Rounding
) -> Requant:
    m, s, b, c = (values.astype(np.int32) for values in (multiplier, shift, start, offset))
    return Requant(m, s, b, c, rounding)


def _q31_multiplier(layer: str, scale: NDArray[np.float64]) -> tuple[IntArray, IntArray]:
    mantissa, exponent = np.frexp(scale)
    multiplier = np.round(mantissa * 2.0**31).astype(np.int64)
    carry = multiplier == 1 << 31
    multiplier = np.where(carry, 1 << 30, multiplier)
    shift = -(exponent.astype(np.int64) + carry)
    if shift.min() < 0 or shift.max() > 31:
        raise QuantizationError(layer, "tflite-double needs scales in [2^-31, 1)")
    return multiplier, shift


def _affine(
    scale: NDArray[np.float64],
    multiplier: IntArray,
    shift: IntArray,
    bias: IntArray,
    zero: IntArray,
    bound: IntArray,
) -> tuple[IntArray, IntArray]:
    """Start and offset of the affine form where it is exact, else bias and zero point.

    With X = acc + start, start = 1.5*2^23 + d + bias, the bits of X read as float32 are the number
    1.5*2^23 + d + bias + acc, and fma(X, m/2^s, c) rounds once. The offset is zp - I with I nearest
    to (1.5*2^23 + d) * m / 2^s; d is chosen to make the remainder least.
    """
    centre = AFFINE_CENTRE + _AFFINE_SHIFTS  # (candidates,)
    product = centre[None, :] * multiplier[:, None]  # below 2^24 * 2^24: exact
    half = np.int64(1) << (shift[:, None] - 1)
    nearest = (product + half) >> shift[:, None]
    remainder = np.abs(product - (nearest << shift[:, None]))
    best = np.argmin(remainder, axis=1)
    rows = np.arange(len(scale))
    shifted = centre[best]
    integer = nearest[rows, best]
    limit = (1 << 22) - (1 << 15)
    exact = (
        (shift >= 25)
        & (np.abs(AFFINE_CENTRE + zero - integer) < 1 << 24)
        & ((bound < limit) | (scale * limit >= 512))
        & (bound < 1 << 29)
    )
    start = np.where(exact, shifted + bias, bias)
    offset = np.where(exact, zero - integer, zero)
    return start, offset
