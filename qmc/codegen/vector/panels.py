"""Panels of weights and requantization constants: as arrays, and unpacked by the kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.constants import Constant
from qmc.codegen.vector.requant import Form, VectorRequant, high_constants
from qmc.codegen.vector.sources import VectorLayer


def print_unpack(layer: VectorLayer, target: str, place: str, codes: int, wide: int) -> None:
    """Unpack the panel that begins at code ``place``, or widen its vectors of ``wide`` bytes."""
    bits, source = layer.integer.weight_bits, f"{layer.prefix}_weights"
    if wide:
        layer.writer.line(f"qmc_widen({target}, {source} + {place}, {codes}, {wide});")
    else:
        layer.writer.line(
            f"qmc_unpack_planes({target}, {source} + {place}/8*{bits}, {codes}, {bits});"
        )


def constants_at(layer: VectorLayer, requant: VectorRequant, first: str) -> str:
    """C expression of a block's constants; ``first`` is its first place."""
    is_high = requant.form is Form.HIGH
    function = "qmc_high_constants" if is_high else "qmc_constants"
    arrays = ["start", "factor", "shift", "offset"] if is_high else ["start", "scale", "bias"]
    names = ", ".join(f"{layer.prefix}_{array}" for array in arrays)
    return f"{function}({names}, {first})"


def requant_constants(
    layer: VectorLayer, requant: VectorRequant, places: NDArray[np.int64]
) -> tuple[Constant, ...]:
    """Arrays in the order of ``places``; -1 is a place without a channel.

    The contract's own constants follow where the kernel needs them.
    """
    name, exact = layer.prefix, layer.integer.requant
    assert exact is not None
    is_high, is_raw = requant.form is Form.HIGH, requant.form is Form.RAW

    def placed(values: NDArray[np.generic], other: int = 0) -> NDArray[np.generic]:
        return np.where(places >= 0, values[places], other).astype(values.dtype)

    alignment = layer.family.alignment
    constants = [Constant(f"{name}_start", "int32_t", placed(requant.start), alignment)]
    if is_high:
        factor, shift = high_constants(exact)
        return (
            *constants,
            Constant(f"{name}_factor", "int32_t", placed(factor)),
            Constant(f"{name}_shift", "uint8_t", placed(shift, 1)),
            Constant(f"{name}_offset", "int32_t", placed(exact.offset.astype(np.int32))),
        )
    none = np.zeros(1, np.float32)
    constants += [
        Constant(f"{name}_scale", "float", none if is_raw else placed(requant.scale), alignment),
        Constant(f"{name}_bias", "float", none if is_raw else placed(requant.offset), alignment),
    ]
    if is_raw:
        constants += [
            Constant(f"{name}_multiplier", "int32_t", exact.multiplier.astype(np.int32)),
            Constant(f"{name}_offset", "int32_t", exact.offset.astype(np.int32)),
            Constant(f"{name}_shift", "uint8_t", exact.shift.astype(np.uint8)),
        ]
    return tuple(constants)
