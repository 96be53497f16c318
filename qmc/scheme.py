"""The quantization scheme of a network: a width, scale and zero point for every tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from qmc.arithmetic import QuantParams, Rounding
from qmc.formats import NumberFormat, number_format


class WeightRounding(StrEnum):
    """How real weights become integers."""

    NEAREST = "nearest"  # nearest, biases corrected
    OPTIMIZED = "optimized"  # fitted to every layer's output


@dataclass(frozen=True, slots=True)
class WeightScheme:
    """Symmetric weights: real = scale[channel] * code, codes -2^(bits-1) to 2^(bits-1) - 1.

    In another number format than integers the codes are its numerators (:mod:`qmc.formats`).

    Attributes:
        bits: width, 1 to 8.
        scales: one per output channel (G*K).
        bias: corrected float bias, one per output channel; None keeps the network's own.
        codes: the integers themselves, int8 in the order of the layer's weights (G*K, C, R, S);
            None takes the nearest ones.
        format: name of the number format; None is integers of ``bits`` bits.
    """

    bits: int
    scales: tuple[float, ...]
    bias: tuple[float, ...] | None = None
    codes: bytes | None = field(default=None, repr=False)
    format: str | None = None

    @property
    def numbers(self) -> NumberFormat:
        """The format of the weights."""
        return number_format(self.format or f"int{self.bits}")


@dataclass(frozen=True, slots=True)
class Scheme:
    """Everything the quantizer chose; saved as scheme.yaml, carried in composite attributes.

    Attributes:
        tensors: by tensor name; every activation of the network has an entry.
        weights: by layer name; every CONV and DENSE has an entry.
        rounding: of all requantizations.
        notes: what the quantizer had to do, one sentence each (near-dead channels and the like).
    """

    tensors: Mapping[str, QuantParams]
    weights: Mapping[str, WeightScheme]
    rounding: Rounding = Rounding.HALF_UP
    notes: tuple[str, ...] = field(default=())
