"""Pointwise layers: rows and columns of pixels are one loop to the search.

Without a window (R = S = 1, stride 1) the loops P and Q index the same operands, no tiles overlap,
and only the product of their extents counts. Where a machine treats both alike, every mapping costs
what one with P * Q pixels in a row costs, which leaves a far smaller space.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd

from qmc.layer import Layer, LoopDim
from qmc.mapping import Loop, Mapping
from qmc.mapspace import divisors
from qmc.nest_bounds import MAX_DIVISORS
from qmc.targets.target import LoopConstraint, Target

_PIXELS = (LoopDim.P, LoopDim.Q)


def in_a_row(layer: Layer, target: Target) -> Layer:
    """The layer with all pixels along P, if that changes no cost; else the layer itself."""
    bounds = layer.bounds
    pixels = bounds.P * bounds.Q
    if (
        bounds.Q == 1
        or bounds.R * bounds.S > 1
        or layer.strides != (1, 1)
        or target.groups_follow in _PIXELS
        or len(divisors(pixels)) > MAX_DIVISORS
        or not all(_treats_alike(constraint) for constraint in _constraints(target))
    ):
        return layer
    return replace(layer, bounds=replace(bounds, P=pixels, Q=1))


def _constraints(target: Target) -> list[LoopConstraint]:
    return [c for m in target.memories for c in (m.temporal, m.spatial_x, m.spatial_y)]


def _treats_alike(constraint: LoopConstraint) -> bool:
    """Whether P and Q are both free or both kept out, and next to each other in the order."""
    limits = [(constraint.factors.get(d), constraint.maximum.get(d)) for d in _PIXELS]
    places = [constraint.order.index(d) for d in _PIXELS if d in constraint.order]
    adjacent = not places or (len(places) == 2 and abs(places[0] - places[1]) == 1)
    kept_out = all(1 in pair for pair in limits)
    return adjacent and (kept_out or limits == [(None, None)] * 2)


def in_rows(mapping: Mapping, layer: Layer, target: Target) -> Mapping:
    """A mapping of ``layer`` from one of :func:`in_a_row`: its loops over P become P and Q."""
    orders = {memory.name: memory.temporal.order for memory in target.memories}
    rest = layer.bounds.P
    loops: list[Loop] = []
    for loop in mapping.loops:
        if loop.dim is not LoopDim.P:
            loops.append(loop)
            continue
        rows = gcd(loop.extent, rest)
        rest //= rows
        pair = [replace(loop, extent=rows)]
        pair.append(replace(loop, dim=LoopDim.Q, extent=loop.extent // rows))
        order = orders[loop.level]  # innermost first; loops are listed outermost first
        if LoopDim.P in order and order.index(LoopDim.P) < order.index(LoopDim.Q):
            pair.reverse()
        loops += [one for one in pair if one.extent > 1]
    return replace(mapping, loops=tuple(loops))
