"""The lattice of tiles of a layer: tuples of divisors of its loop bounds, by divisibility.

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
        window: the part that moves windows.
    """

    bounds: Ints
    radix: Ints
    stride: Ints
    digits: Ints
    extents: Ints
    moves: Ints
    subs: Ints
    sub_counts: Ints
    window: Window

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
        window=_window(bounds, digits),
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
    :func:`arriving_inputs`.
    """
    extents = lattice.extents.astype(np.float64)
    table = np.empty((3, lattice.nodes))
    for operand in (0, 2):
        table[operand] = 1.0 / extents[:, IRRELEVANT[operand]].prod(axis=1)
    table[1] = arriving_inputs(lattice, problem, np.ones((2, 8), np.int64))
    return table


def arriving_inputs(lattice: Lattice, problem: Problem, spread: Ints) -> Floats:
    """(nodes,) elements of I that arrive per multiply-accumulate, at least; see docs/cost-model.md.

    A node is a tile of several instances, ``spread`` (2, 8) their number along x and y by dim; each
    gets its own part of the tile, but windows that start at the same place share. The window of an
    instance slides along one side when the innermost loop that moves it steps; then only what the
    last position did not cover arrives. Where all other loops step, at least as much as the
    cheapest of them brings. Of a box with holes (stride above window) only what is used counts.
    """
    window = lattice.window
    down, tall, right, wide = (int(v) for v in problem["window"])
    axes = spread[:, [_AT[dim] for dim in _WINDOW]]
    factors = axes.prod(axis=0)
    p, q, r, s = (window.extents // factors).T.astype(np.float64)
    height, width = _touched(down, p, tall, r), _touched(right, q, wide, s)
    vertical = _Side(window, height, 0, down, 2, tall)
    horizontal = _Side(window, width, 1, right, 3, wide)
    least = np.minimum(vertical.least_share(), horizontal.least_share())
    taps = p * q * r * s
    arriving = least * height * width / np.maximum(taps, 1.0)
    arriving /= _sharing(down, p, tall, r, axes[:, [0, 2]])
    arriving /= _sharing(right, q, wide, s, axes[:, [1, 3]])
    if spread.max() == 1:  # every element that is used arrives once
        arriving = np.maximum(arriving, (height * width / taps)[-1])
    arriving = np.where((window.extents % factors == 0).all(axis=1), arriving, np.inf)
    broadcast: Floats = arriving[window.nodes] / lattice.extents[:, _AT[LoopDim.K]]
    return broadcast


_WINDOW = (LoopDim.P, LoopDim.Q, LoopDim.R, LoopDim.S)


def _sharing(stride: int, outputs: Floats, dilation: int, taps: Floats, axes: Ints) -> Floats:
    """(n,) instances that share a window on average; ``axes`` (2, 2) outputs and taps by axis."""
    share = np.ones(len(outputs))
    for axis, inside in ((0, axes[1]), (1, np.ones(2, np.int64))):  # y lies inside x
        n, m = (int(v) for v in axes[axis])
        if n > 1 and m > 1:
            a, b = stride * outputs * inside[0], dilation * taps * inside[1]
            common = np.maximum(np.gcd(a.astype(np.int64), b.astype(np.int64)), 1)
            again = np.maximum(0, n - b // common) * np.maximum(0, m - a // common)
            share *= n * m / np.maximum(n * m - again, 1)
    return share


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a lattice that moves windows: P, Q, R, S.

    Attributes:
        bounds: (4,) loop bounds.
        extents: (n, 4) all tuples of divisors.
        least_primes: (n, 4) least prime factor of what is left of each bound.
        nodes: (nodes,) which of them a node of the lattice has.
    """

    bounds: Ints
    extents: Ints
    least_primes: Ints
    nodes: Ints


def _window(bounds: tuple[int, ...], digits: Ints) -> Window:
    dims = [_AT[dim] for dim in _WINDOW]
    values = [np.array(divisors(bounds[dim])) for dim in dims]
    primes = [
        np.array([_least_prime(bounds[dim] // v) for v in divisors(bounds[dim])]) for dim in dims
    ]
    radix = [len(v) for v in values]
    at = np.indices(radix).reshape(4, -1)
    return Window(
        bounds=np.array([bounds[dim] for dim in dims]),
        extents=np.stack([v[a] for v, a in zip(values, at, strict=True)], axis=1),
        least_primes=np.stack([v[a] for v, a in zip(primes, at, strict=True)], axis=1),
        nodes=np.ravel_multi_index(tuple(digits[:, dim] for dim in dims), radix),
    )


def _least_prime(number: int) -> int:
    """Least prime factor; of 1 it is 1."""
    return divisors(number)[1] if number > 1 else 1


class _Side:
    """How a window moves along one side: by output pixels and by taps.

    A loop that wraps is taken to come from its second position (docs/cost-model.md), so what a step
    brings is the difference of two steps: between the least and the largest a loop can have here.
    """

    def __init__(
        self, window: Window, side: Floats, outputs: int, stride: int, taps: int, step: int
    ) -> None:
        self.side = side
        self.rest: list[Floats] = []
        self.prime: list[Floats] = []
        self.least: list[Floats] = []
        self.most: list[Floats] = []
        for dim, unit in ((outputs, stride), (taps, step)):
            extent, prime = window.extents[:, dim], window.least_primes[:, dim]
            self.rest.append((window.bounds[dim] // extent).astype(np.float64))
            self.prime.append(prime.astype(np.float64))
            self.least.append(unit * extent.astype(np.float64))
            self.most.append(unit * window.bounds[dim] / prime)

    def least_share(self) -> Floats:
        """(n,) least part of the tile's side that a step brings, on average."""
        return np.minimum(self._sliding(0, 1), self._sliding(1, 0))

    def _sliding(self, first: int, other: int) -> Floats:
        """The same when the innermost loop is ``first``."""
        rest, prime, side = self.rest[first], self.prime[first], np.maximum(self.side, 1.0)
        new = np.minimum(self.least[first], side)
        alone = self.rest[other] == 1
        again = np.where(alone, new, np.clip(new - self.most[other], 0, None))
        after = np.clip(self.least[other] - self.most[first], 0, side)
        after = np.where(self.most[other] < self.least[first], side, after)  # it moves back
        single = self.rest[other] == self.prime[other]
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
    different: Floats = outputs * taps - again
    return different


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
