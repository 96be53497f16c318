"""Number formats: how many bits a number has, which real numbers its codes stand for.

Every format is a table of exact values: integers, {-1, 0, +1}, {-1, +1}, signed powers of two, and
minifloats. Each value is a whole multiple of one power of two, so a tensor in any format is a
tensor of integers at another scale, and the integer contract (docs/arithmetic.md) covers them all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from qmc.errors import SchemeError

__all__ = [
    "FORMAT_NAMES",
    "WEIGHT_FORMATS",
    "EnergyClass",
    "NumberFormat",
    "WeightFormat",
    "number_format",
]

#: The formats by name; a bias other than 4 may follow ``fp143b``.
FORMAT_NAMES = (
    *(f"int{bits}" for bits in (*range(1, 9), 16)),
    *("ternary", "binary", "pot3", "pot4", "pot5"),
    *("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "fp143b4"),
)
#: Formats of weights beside integers whose numerators the emitted kernels hold, in int8.
WeightFormat = Literal["binary", "ternary", "pot3", "pot4", "e2m1", "e2m3"]
WEIGHT_FORMATS: tuple[str, ...] = get_args(WeightFormat)
_HFP8_BIAS = re.compile(r"fp143b([0-9]|1[0-5])")


class EnergyClass(StrEnum):
    """What a multiplication by such a number is made of; machines give each class an energy."""

    INTEGER = "integer"
    SIGN = "sign"
    SHIFT = "shift"
    FLOAT = "float"


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """One format.

    Attributes:
        name: as users type it.
        bits: of a code.
        energy_class: of multiplications by it.
        numerators: (2^bits,) by code, a code's value over ``unit``; codes without a number (NaN,
            infinities, spare ones) repeat the nearest finite value and are never made.
        spare: (2^bits,) by code, whether it stands for no number of its own.
        unit: a power of two.
    """

    name: str
    bits: int
    energy_class: EnergyClass
    numerators: tuple[int, ...]
    spare: tuple[bool, ...]
    unit: float = 1.0

    @property
    def integer_bits(self) -> int:
        """Bits of the narrowest two's complement integer that holds every numerator."""
        return max((v if v >= 0 else ~v).bit_length() for v in self.numerators) + 1

    def values(self) -> NDArray[np.float64]:
        """(2^bits,) real value of every code, exact."""
        return np.array(self.numerators, dtype=np.float64) * self.unit

    def decode(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Numerators of ``codes``, two's complement or unsigned alike."""
        table = np.array(self.numerators, dtype=np.int64)
        return np.asarray(table[codes.astype(np.int64) & ((1 << self.bits) - 1)])

    def encode(self, reals: NDArray[np.floating]) -> NDArray[np.int64]:
        """Codes (unsigned) of the nearest values; ties go to the even code, the ends saturate.

        For integers and minifloats that is IEEE 754 round-half-to-even. No code of a negative zero
        is made.

        Args:
            reals: in units of the format's value 1; finite.
        """
        values, codes = _sorted(self)
        at = np.searchsorted(values, reals.astype(np.float64))
        above, below = np.minimum(at, len(values) - 1), np.maximum(at - 1, 0)
        up, down = values[above] - reals, reals - values[below]
        even = codes[above] % 2 == 0
        chosen = np.where((up < down) | ((up == down) & even), above, below)
        return np.asarray(codes[chosen])

    def nearest(self, ratios: NDArray[np.floating]) -> NDArray[np.int64]:
        """Nearest numerators of ``ratios``, which are in units of ``unit``; as :meth:`encode`."""
        if self.energy_class is EnergyClass.INTEGER:
            half = 1 << (self.bits - 1)
            return np.asarray(np.clip(np.rint(ratios), -half, half - 1), dtype=np.int64)
        return self.decode(self.encode(ratios * self.unit))

    def to_codes(self, numerators: NDArray[np.integer]) -> NDArray[np.int64]:
        """Codes of numerators that :meth:`decode` or :meth:`nearest` gave."""
        if self.energy_class is EnergyClass.INTEGER:
            return numerators.astype(np.int64) & ((1 << self.bits) - 1)
        return self.encode(numerators * self.unit)


@lru_cache(maxsize=64)
def _sorted(form: NumberFormat) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distinct values ascending, and the code of each."""
    codes = np.flatnonzero(~np.array(form.spare))
    values = form.values()[codes]
    order = np.argsort(values, kind="stable")
    return values[order], codes[order]


@lru_cache(maxsize=64)
def number_format(name: str) -> NumberFormat:
    """The format called ``name``.

    Raises:
        SchemeError: there is none.
    """
    if name in ("ternary", "binary"):
        return _signs(name)
    if name.startswith("pot") and name in FORMAT_NAMES:
        return _powers_of_two(name, int(name[3:]))
    if name.startswith("int") and name in FORMAT_NAMES:
        return _integers(name, int(name[3:]))
    if name in _MINIFLOATS:
        return _minifloat(name, *_MINIFLOATS[name])
    match = _HFP8_BIAS.fullmatch(name)
    if match:
        return _minifloat(name, 4, 3, int(match[1]), 0)
    raise SchemeError(
        f"number format: found '{name}'; allowed: {', '.join(FORMAT_NAMES)} (fp143b0 to fp143b15)"
    )


#: Exponent bits, mantissa bits, exponent bias; how many of the largest magnitudes are no numbers.
#: E2M1, E2M3, E3M2: OCP Microscaling Formats (MX) v1.0, section 5.3. E4M3, E5M2: OCP 8-bit Floating
#: Point v1.0 (arXiv 2209.05433): one NaN; one infinity and three NaNs.
_MINIFLOATS = {
    "e2m1": (2, 1, 1, 0),
    "e2m3": (2, 3, 1, 0),
    "e3m2": (3, 2, 3, 0),
    "e4m3": (4, 3, 7, 1),
    "e5m2": (5, 2, 15, 4),
}


def _integers(name: str, bits: int) -> NumberFormat:
    """Two's complement: -2^(bits-1) to 2^(bits-1) - 1."""
    half = 1 << (bits - 1)
    numerators = (*range(half), *range(-half, 0))
    return NumberFormat(name, bits, EnergyClass.INTEGER, numerators, (False,) * (2 * half))


def _signs(name: str) -> NumberFormat:
    """{-1, 0, +1} in two bits of two's complement, or {-1, +1}: code 0 is -1."""
    if name == "binary":
        return NumberFormat(name, 1, EnergyClass.SIGN, (-1, 1), (False, False))
    return NumberFormat(name, 2, EnergyClass.SIGN, (0, 1, -1, -1), (False, False, True, False))


def _powers_of_two(name: str, bits: int) -> NumberFormat:
    """Sign and exponent: magnitude 0, then 2^0 to 2^(2^(bits-1) - 2)."""
    magnitudes = [0, *(1 << e for e in range((1 << (bits - 1)) - 1))]
    return _sign_magnitude(name, EnergyClass.SHIFT, magnitudes, 0, 0)


def _minifloat(name: str, exponent: int, mantissa: int, bias: int, missing: int) -> NumberFormat:
    """Sign, exponent, mantissa; gradual underflow; value 2^(e - bias) (1 + m / 2^mantissa)."""
    steps = 1 << mantissa
    magnitudes = [
        m if e == 0 else (steps + m) << (e - 1) for e in range(1 << exponent) for m in range(steps)
    ]
    return _sign_magnitude(name, EnergyClass.FLOAT, magnitudes, missing, 1 - bias - mantissa)


def _sign_magnitude(
    name: str, energy_class: EnergyClass, magnitudes: list[int], missing: int, exponent: int
) -> NumberFormat:
    """Codes with the sign in the top bit; the last ``missing`` magnitudes are no numbers."""
    finite = len(magnitudes) - missing
    clipped = [min(value, magnitudes[finite - 1]) for value in magnitudes]
    lost = [at >= finite for at in range(len(magnitudes))]
    return NumberFormat(
        name,
        bits=len(magnitudes).bit_length(),
        energy_class=energy_class,
        numerators=(*clipped, *(-value for value in clipped)),
        spare=(*lost, True, *lost[1:]),  # negative zero is no number of its own
        unit=2.0**exponent,
    )
