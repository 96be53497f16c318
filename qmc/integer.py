"""The integer network: what the reference runs and the C printer prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import QuantParams, Requant, Rescale
from qmc.formats import NumberFormat
from qmc.layer import Layer
from qmc.network import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class IntegerLayer:
    """A layer with every integer constant it needs. Formulas per op: docs/arithmetic.md.

    Attributes:
        layer: shape and names.
        inputs, output: quantization of the operands.
        low, high: clamp limits of the output codes.
        weights: CONV, DENSE: (G*K, C, R, S) int8 codes.
        weight_bits: CONV, DENSE: stored width.
        requant: CONV, DENSE: per-channel constants.
        accumulator_bound: CONV, DENSE: proved bound of any partial sum of the raw products
            (weights times unsigned input codes), in any order, the start value included.
        rescales: ADD: two with one shift, numerators and offsets are summed; MUL: one, applied to
            (a - za) * (b - zb); CONCAT: one per input; AVERAGE_POOL: one per entry of ``counts``,
            applied to the plain sum of the counted codes.
        counts: AVERAGE_POOL: numbers of elements under the window that occur.
        table: LOOKUP: 2^bits output codes by input code; SOFTMAX: 2^bits weights uint32 by
            (largest code - code).
        weight_format: CONV, DENSE: of the stored codes; None is integers. ``weights`` are then its
            numerators.
    """

    layer: Layer
    inputs: tuple[QuantParams, ...]
    output: QuantParams
    low: int
    high: int
    weights: NDArray[np.int8] | None = None
    weight_bits: int | None = None
    requant: Requant | None = None
    accumulator_bound: int = 0
    rescales: tuple[Rescale, ...] = ()
    counts: tuple[int, ...] = ()
    table: NDArray[np.uint32] | None = None
    weight_format: NumberFormat | None = None

    def stored_weights(self) -> NDArray[np.integer]:
        """CONV, DENSE: (G*K, C, R, S) codes of ``weight_bits`` bits as they are packed."""
        assert self.weights is not None
        numbers = self.weight_format
        return self.weights if numbers is None else numbers.to_codes(self.weights)


@dataclass(frozen=True, slots=True, eq=False)
class IntegerNetwork:
    """Integer layers in execution order, with the tensors between them."""

    name: str
    tensors: Mapping[str, Tensor]
    quantization: Mapping[str, QuantParams]
    layers: tuple[IntegerLayer, ...]
    input: str
    output: str
