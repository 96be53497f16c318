"""The lattice of tiles of a layer: all tuples of divisors of its loop bounds, ordered by divisibility.

A tile of any memory is a node. What a memory exchanges per multiply-accumulate depends on the node
alone (:func:`reuse`), so the best chain of tiles, from the multiply-accumulate unit to the whole
layer, is found by dynamic programming on the lattice (:mod:`qmc.relaxation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.layer import REDUCTION, RELEVANT, LoopDim, Operand
from qmc.mapspace import DIMS, divisors
from qmc.nest_records import Floats, Ints, Problem

_OPERANDS = tuple(Operand)
_AT = {dim: index for index, dim in enumerate(DIMS)}
#: Loops that do not index an operand: its tile stays while they run.
IRRELEVANT: tuple[tuple[int, ...], ...] = tuple(
    tuple(_AT[dim] for dim in DIMS if dim not in RELEVANT[operand]) for operand in _OPERANDS
)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Nodes are numbered in mixed radix, the last dim fastest.

    Attributes:
        bounds: (8,) loop bounds.
        radix, stride: (8,) divisors of each bound, and distance of two nodes that are neighbours
            along a dim.
        digits: (nodes, 8) index of the divisor of every dim.
        extents: (nodes, 8) the divisors themselves.
        moves: (moves, 3) for every dim and prime of its bound and every divisor: dim, index of the
            divisor, index of the divisor over the prime, ascending within a dim and prime.
        subs, sub_counts: (8, d, d) and (8, d): indices of the divisors of a divisor.
    """

    bounds: Ints
    radix: Ints
    stride: Ints
    digits: Ints
    extents: Ints
    moves: Ints
    subs: Ints
    sub_counts: Ints

    @property
    def nodes(self) -> int:
        """Number of nodes; the last one is the whole layer."""
        return len(self.digits)

    def inside(self, factors: tuple[int, ...]) -> Ints:
        """(nodes,) the node of every tile divided by ``factors``; -1 where they do not divide it."""
        whole = (self.extents % np.array(factors) == 0).all(axis=1)
        node = np.zeros(self.nodes, np.int64)
        for dim, factor in enumerate(factors):
            values = np.array(divisors(int(self.bounds[dim])))
            digit = np.searchsorted(values, self.extents[:, dim] // factor)
            node += digit * self.stride[dim]
        return np.where(whole, node, -1)


def build_lattice(bounds: tuple[int, ...]) -> Lattice:
    """The lattice of all tiles within ``bounds``."""
    values = [np.array(divisors(bound)) for bound in bounds]
    radix = np.array([len(v) for v in values])
    stride = np.append(np.cumprod(radix[:0:-1])[::-1], 1)
    nodes = int(np.prod(radix))
    digits = (np.arange(nodes)[:, None] // stride) % radix
    extents = np.stack([v[digits[:, d]] for d, v in enumerate(values)], axis=1)
    most = int(radix.max())
    subs = np.zeros((8, most, most), np.int64)
    counts = np.zeros((8, most), np.int64)
    for dim, listed in enumerate(values):
        for index, value in enumerate(listed):
            below = np.flatnonzero(value % listed == 0)
            counts[dim, index] = len(below)
            subs[dim, index, : len(below)] = below
    return Lattice(
        bounds=np.array(bounds),
        radix=radix,
        stride=stride,
        digits=digits,
        extents=extents,
        moves=np.array(_moves(values), np.int64).reshape(-1, 3),
        subs=subs,
        sub_counts=counts,
    )


def _moves(values: list[NDArray[np.int64]]) -> list[tuple[int, int, int]]:
    moves = []
    for dim, listed in enumerate(values):
        where = {int(value): index for index, value in enumerate(listed)}
        bound = int(listed[-1])
        for prime in (d for d in where if d > 1 and len(divisors(d)) == 2 and bound % d == 0):
            moves += [
                (dim, index, where[value // prime])
                for value, index in where.items()
                if value % prime == 0
            ]
    return moves


def reuse(lattice: Lattice, problem: Problem) -> Floats:
    """(3, nodes): elements of W, I, O that arrive per multiply-accumulate, at least.

    For W and O this is 1 / the loops inside the tile that do not index them; for I see
    :func:`_arriving_inputs`.
    """
    extents = lattice.extents.astype(np.float64)
    table = np.empty((3, lattice.nodes))
    for operand in (0, 2):
        table[operand] = 1.0 / extents[:, IRRELEVANT[operand]].prod(axis=1)
    table[1] = _arriving_inputs(lattice, problem) / extents[:, _AT[LoopDim.K]]
    return table


def _arriving_inputs(lattice: Lattice, problem: Problem) -> Floats:
    """(nodes,) elements of I per output pixel and tap of a tile, at least; see docs/cost-model.md.

    The window slides along one side when the innermost loop that moves it steps; then only what
    the last position did not cover arrives. Where all other loops step, at least as much as the
    cheapest of them brings. Of a box with holes (stride above window) only what is used counts.
    """
    down, tall, right, wide = (int(v) for v in problem["window"])
    p, q, r, s = (lattice.extents[:, _AT[dim]].astype(np.float64) for dim in _WINDOW)
    height, width = _touched(down, p, tall, r), _touched(right, q, wide, s)
    vertical = _Side(lattice, height, LoopDim.P, down, LoopDim.R, tall)
    horizontal = _Side(lattice, width, LoopDim.Q, right, LoopDim.S, wide)
    least = np.minimum(vertical.least_share(), horizontal.least_share())
    area = height * width
    return np.maximum(least * area / (p * q * r * s), area[-1] / float((p * q * r * s)[-1]))


_WINDOW = (LoopDim.P, LoopDim.Q, LoopDim.R, LoopDim.S)


class _Side:
    """How a window moves along one side: by output pixels and by taps.

    A loop that wraps is taken to come from its second position (docs/cost-model.md), so what a step
    brings is the difference of two steps: between the least and the largest a loop can have here.
    """

    def __init__(
        self, lattice: Lattice, side: Floats, outputs: LoopDim, stride: int, taps: LoopDim, step: int
    ) -> None:
        self.side = side
        self.rest: list[Floats] = []
        self.least: list[Floats] = []
        self.most: list[Floats] = []
        for dim, unit in ((outputs, stride), (taps, step)):
            bound = lattice.bounds[_AT[dim]]
            extent = lattice.extents[:, _AT[dim]]
            rest = bound // extent
            self.rest.append(rest.astype(np.float64))
            self.least.append(unit * extent.astype(np.float64))
            self.most.append(unit * (bound / _least_prime(rest)))

    def least_share(self) -> Floats:
        """(nodes,) least part of the tile's side that a step brings, on average."""
        return np.minimum(self._sliding(0, 1), self._sliding(1, 0))

    def _sliding(self, first: int, other: int) -> Floats:
        """The same when the innermost loop is ``first``."""
        rest, side = self.rest[first], self.side
        prime = _least_prime(rest.astype(np.int64))
        new = np.minimum(self.least[first], side)
        alone = self.rest[other] == 1
        again = np.where(alone, new, np.clip(new - self.most[other], 0, None))
        after = np.clip(self.least[other] - self.most[first], 0, side)
        after = np.where(self.most[other] < self.least[first], side, after)  # it moves back
        single = self.rest[other] == _least_prime(self.rest[other].astype(np.int64))
        after = np.where(alone, side, np.where(single, after, 0.0))
        whole = (1 - 1 / rest) * new + after / rest
        divided = np.minimum(again, after)
        few, many = prime, np.maximum(prime, rest / prime)
        part = np.minimum(
            (1 - 1 / few) * new + divided / few, (1 - 1 / many) * new + divided / many
        )
        share = np.where(rest > prime, np.minimum(whole, part), whole) / side
        return np.where(rest > 1, share, 1.0)


def _touched(stride: int, outputs: Floats, dilation: int, taps: Floats) -> Floats:
    """Rows that outputs and taps use: different sums stride*i + dilation*j."""
    common = gcd(stride, dilation)
    again = np.maximum(0, outputs - dilation // common) * np.maximum(0, taps - stride // common)
    return outputs * taps - again


def _least_prime(numbers: Ints) -> Floats:
    """Least prime factor; of 1 it is 1."""
    unique, where = np.unique(numbers, return_inverse=True)
    return np.array([divisors(int(n))[1] if n > 1 else 1 for n in unique], np.float64)[where]


def tile_volumes(lattice: Lattice, problem: Problem) -> Ints:
    """(3, nodes): elements of the tiles of W, I and O; I with its halo."""
    n, g, k, c, p, q, r, s = lattice.extents.T
    down, tall, right, wide = (int(v) for v in problem["window"])
    height, width = (p - 1) * down + (r - 1) * tall + 1, (q - 1) * right + (s - 1) * wide + 1
    return np.stack([g * k * c * r * s, n * g * c * height * width, n * g * k * p * q])


def reduction_work(bounds: tuple[int, ...]) -> int:
    """Products that are summed into one output."""
    return int(np.prod([bounds[_AT[dim]] for dim in REDUCTION]))


#: Compiled functions take the parts of a lattice one by one.
Array = NDArray[Any]
