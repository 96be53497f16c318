"""Constant arrays of the layers: packed weights and requantization constants."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.mac_plan import MacPlan
from qmc.integer import IntegerLayer
from qmc.layer import LoopDim
from qmc.packing import pack_rows

_PER_LINE = 24
_WEIGHT_DIMS = (LoopDim.G, LoopDim.K, LoopDim.C, LoopDim.R, LoopDim.S)


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A ``const`` array of the emitted program, aligned to ``alignment`` bytes if that is not 0."""

    name: str
    kind: str
    values: NDArray[np.generic]
    alignment: int = 0

    @property
    def size_bytes(self) -> int:
        """Flash it takes."""
        return int(self.values.size) * self.values.dtype.itemsize

    @property
    def declaration(self) -> str:
        """Its type and name."""
        return f"const {self.kind} {self.name}[{self.values.size}]"

    def definition(self) -> str:
        """C text."""
        values = self.values.reshape(-1)
        rows = (
            "    " + ", ".join(map(str, values[i : i + _PER_LINE].tolist()))
            for i in range(0, len(values), _PER_LINE)
        )
        aligned = f" __attribute__((aligned({self.alignment})))" if self.alignment else ""
        return f"{self.declaration}{aligned} = {{\n" + ",\n".join(rows) + "\n};\n"


def pack_weights(integer: IntegerLayer, plan: MacPlan) -> NDArray[np.integer]:
    """The weights in the order in which the kernel visits them.

    Returns:
        int8 codes at 8 bits, else uint8 bytes: one row per weight tile, padded to a byte.
    """
    assert integer.weight_bits is not None
    bounds = integer.layer.bounds
    axes: list[tuple[LoopDim, str]] = []
    shape: list[int] = []
    for dim in _WEIGHT_DIMS:
        loops = sorted(
            (loop for loop in plan.weight_order if loop.dim is dim), key=lambda loop: -loop.step
        )
        axes += [(dim, loop.index) for loop in loops]
        shape += [loop.extent for loop in loops]
    codes = integer.stored_weights().reshape(bounds.G, bounds.K, bounds.C, bounds.R, bounds.S)
    for axis, dim in enumerate(_WEIGHT_DIMS):  # what a cut tile lacks is 0, and never read
        whole = prod(loop.extent for loop in plan.weight_order if loop.dim is dim)
        lacking = [(0, whole - bounds[dim] if at == axis else 0) for at in range(5)]
        codes = np.pad(codes, lacking)
    order = [axes.index((loop.dim, loop.index)) for loop in plan.weight_order]
    visited = codes.reshape(shape).transpose(order).reshape(-1, plan.weight_count)
    if integer.weight_bits == 8:
        return np.ascontiguousarray(visited.reshape(-1))
    return pack_rows(visited, integer.weight_bits).reshape(-1)


def mac_constants(integer: IntegerLayer, plan: MacPlan, prefix: str) -> tuple[Constant, ...]:
    """Weights and requantization constants of a CONV or DENSE layer."""
    requant = integer.requant
    assert requant is not None
    weights = pack_weights(integer, plan)
    numbers: tuple[Constant, ...] = ()
    if integer.weight_format is not None:
        decoded = np.array(integer.weight_format.numerators, dtype=np.int8)
        numbers = (Constant(f"{prefix}_numbers", "int8_t", decoded),)
    return (
        *numbers,
        Constant(f"{prefix}_weights", "int8_t" if weights.dtype == np.int8 else "uint8_t", weights),
        Constant(f"{prefix}_multiplier", "int32_t", requant.multiplier.astype(np.int32)),
        Constant(f"{prefix}_start", "int32_t", requant.start.astype(np.int32)),
        Constant(f"{prefix}_offset", "int32_t", requant.offset.astype(np.int32)),
        Constant(f"{prefix}_shift", "uint8_t", requant.shift.astype(np.uint8)),
    )
