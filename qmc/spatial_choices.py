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

#: Rows of the largest table of combinations.
_MOST_ROWS = 1 << 18
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


def together(levels: tuple[tuple[Spread, ...], ...], bounds: tuple[int, ...]) -> Ints:
    """(combinations, levels) one spread for every fan-out whose extents together divide the bounds.

    Args:
        levels: the spreads over every fan-out.
        bounds: (8,) of the loops.
    """
    if not all(levels):
        return np.zeros((0, len(levels)), np.int64)
    chosen, taken = np.zeros(1, np.int64), np.ones((1, len(bounds)), np.int64)
    for found in levels:
        extents = np.concatenate([spread.factors.prod(axis=1) for spread in found])
        own = np.repeat(np.arange(len(found)), [len(spread.factors) for spread in found])
        part = max(1, _MOST_ROWS // len(own))
        joined = [
            _join(chosen[at : at + part] * len(found), taken[at : at + part], own, extents, bounds)
            for at in range(0, max(1, len(chosen)), part)
        ]
        chosen, taken = (np.concatenate(parts) for parts in zip(*joined, strict=True))
    counts = tuple(len(found) for found in levels)
    return np.stack(np.unravel_index(np.unique(chosen), counts), axis=1)


def _join(
    chosen: Ints, taken: Ints, own: Ints, extents: Ints, bounds: tuple[int, ...]
) -> tuple[Ints, Ints]:
    """Numbers and extents of combinations that divide the bounds, each once.

    Args:
        chosen: (n,) numbers of those over the fan-outs so far.
        taken: (n, 8) their extents.
        own: (ways,) numbers of the spreads over the next one.
        extents: (ways, 8) theirs.
        bounds: (8,) of the loops.
    """
    both = (taken[:, None] * extents).reshape(-1, len(bounds))
    fits = np.flatnonzero((np.array(bounds) % both == 0).all(axis=1))
    number, both = np.add.outer(chosen, own).ravel()[fits], both[fits]
    code = number
    for dim, bound in enumerate(bounds):
        if bound > 1:
            code = code * len(divisors(bound)) + np.searchsorted(divisors(bound), both[:, dim])
    _, first = np.unique(code, return_index=True)
    return number[first], both[first]


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
