"""How the loops of a layer may be spread over the fan-outs of a machine.

Spreads with the same *degrees* cost the same outside their tiles: how many instances share each
weight and each input, how many sum into one output, and how many work at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from qmc.lattice import IRRELEVANT
from qmc.mapspace import DIMS, Block, MapSpace, divisors
from qmc.nest_records import Ints

_P, _Q, _R, _S = (DIMS.index(next(d for d in DIMS if d.value == c)) for c in "PQRS")


@dataclass(frozen=True, slots=True)
class Spread:
    """All ways to use one fan-out with the same degrees.

    Attributes:
        shared: instances that share a weight, an input, an output (those that sum into it); inputs
            at most, where windows of neighbours may start at the same place.
        copies: instances that receive the same input because they make different outputs.
        instances: that work.
        factors: (ways, 2, 8) extents along x and y.
    """

    shared: tuple[int, float, int]
    copies: int
    instances: int
    factors: Ints


def count_pairs(space: MapSpace, level: int) -> int:
    """Spreads along x times those along y of one fan-out."""
    return prod(len(_along(space, b)) for b in space.blocks if b.level == level and b.axis)


def spreads(space: MapSpace, level: int) -> tuple[Spread, ...]:
    """Every spread over the fan-out of a memory, most instances first."""
    x, y = (block for block in space.blocks if block.level == level and block.axis)
    wired = any(memory.network is not None for memory in space.target.memories)
    ways: dict[tuple[int, float, int, int, int], list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    seen: set[tuple[int, ...]] = set()
    for along_x, along_y in product(_along(space, x), _along(space, y)):
        both = tuple(a * b for a, b in zip(along_x, along_y, strict=True))
        if any(bound % taken for bound, taken in zip(space.bounds, both, strict=True)):
            continue
        if both in seen and not (wired or _windows_may_meet(both)):
            continue  # which axis a loop lies on matters to wires and shared windows only
        seen.add(both)
        ways.setdefault(_degrees(space, along_x, along_y), []).append((along_x, along_y))
    found = [
        Spread(key[:3], key[3], key[4], np.array(listed, np.int64)) for key, listed in ways.items()
    ]
    return tuple(sorted(found, key=lambda s: (-s.instances, s.shared, s.copies)))


def _along(space: MapSpace, block: Block) -> list[tuple[int, ...]]:
    """Factors of all dims along one axis; G and the dim it follows are limited together."""
    found: list[tuple[int, ...]] = []

    def extend(taken: tuple[int, ...], room: int) -> None:
        dim = len(taken)
        if dim == len(space.bounds):
            if _as_asked(space, block, taken):
                found.append(taken)
            return
        for factor in divisors(space.bounds[dim]):
            if factor > room:
                break
            extend((*taken, factor), room // factor)

    extend((), block.limit)
    return found


def _as_asked(space: MapSpace, block: Block, taken: tuple[int, ...]) -> bool:
    for group in space.groups:
        own = space.follow if len(group) == 2 else group[0]
        extent = prod(taken[dim] for dim in group)
        exact, most = block.exact[own], block.maximum[own]
        if (exact and extent != exact) or (most and extent > most):
            return False
    return True


def _windows_may_meet(factors: tuple[int, ...]) -> bool:
    return (factors[_P] > 1 and factors[_R] > 1) or (factors[_Q] > 1 and factors[_S] > 1)


def _degrees(space: MapSpace, *axes: tuple[int, ...]) -> tuple[int, float, int, int, int]:
    factors = tuple(map(prod, zip(*axes, strict=True)))
    weights, inputs, outputs = (prod(factors[dim] for dim in dims) for dims in IRRELEVANT)
    layer, bounds = space.layer, space.bounds
    meeting = 1.0
    for axis in axes:
        for outer, inner, at in ((_P, _R, 0), (_Q, _S, 1)):
            if axis[outer] > 1 and axis[inner] > 1:
                steps = layer.strides[at], layer.dilations[at]
                left = bounds[outer] // axis[outer], bounds[inner] // axis[inner]
                meeting *= _meeting(axis[outer], axis[inner], steps, left)
    return weights, inputs * meeting, outputs, inputs, prod(factors)


@lru_cache(maxsize=4096)
def _meeting(outputs: int, taps: int, steps: tuple[int, int], left: tuple[int, int]) -> float:
    """Instances along one axis that share a window on average, at most.

    Args:
        outputs: along the axis.
        taps: likewise.
        steps: stride and dilation.
        left: what is left inside of the loops over outputs and over taps.
    """
    stride, dilation = steps
    positions = min(
        len({stride * p * i + dilation * r * j for i in range(outputs) for j in range(taps)})
        for p in divisors(left[0])
        for r in divisors(left[1])
    )
    return outputs * taps / positions
