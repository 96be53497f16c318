"""The lattice of tiles of a layer: tuples of divisors of its loop bounds, by divisibility.

A tile of any memory is a node. What a memory exchanges per multiply-accumulate depends on the node
alone (:func:`reuse`), so the best chain of tiles, from the multiply-accumulate unit to the whole
layer, is found by dynamic programming on the lattice (:mod:`qmc.relaxation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.layer import REDUCTION, RELEVANT, Operand
from qmc.mapspace import DIMS, divisors
from qmc.nest_records import Floats, Ints, Problem
from qmc.sliding import least_inputs

_OPERANDS = tuple(Operand)
_AT = {dim: index for index, dim in enumerate(DIMS)}
#: Loops that do not index an operand: its tile stays while they run.
IRRELEVANT: tuple[tuple[int, ...], ...] = tuple(
    tuple(_AT[dim] for dim in DIMS if dim not in RELEVANT[operand]) for operand in _OPERANDS
)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Nodes are numbered in mixed radix, the dim of most divisors fastest.

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
        """(nodes,) node of every tile divided by ``factors``; -1 where they do not divide it."""
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
    stride = np.empty(8, np.int64)
    nodes = 1
    for dim in np.argsort(-radix, kind="stable").tolist():  # long rows of neighbours are fast
        stride[dim] = nodes
        nodes *= int(radix[dim])
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


def reuse(lattice: Lattice) -> Floats:
    """(3, nodes): elements of W and O that arrive per multiply-accumulate, at least.

    This is 1 / the loops inside the tile that do not index them. For I see :mod:`qmc.sliding`.
    """
    extents = lattice.extents.astype(np.float64)
    return np.stack([1.0 / extents[:, dims].prod(axis=1) for dims in IRRELEVANT])


def least_reuse(bounds: tuple[int, ...], problem: Problem) -> tuple[float, float, float]:
    """Elements of W, I, O per multiply-accumulate when each one that is used arrives once."""
    taken = [1.0 / np.prod([bounds[dim] for dim in dims]) for dims in IRRELEVANT]
    return taken[0], taken[1] * least_inputs(bounds, problem["window"]), taken[2]


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
