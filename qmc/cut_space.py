"""The map space of a layer where loops need not divide their dims.

Seen from the inside, a loop over a dim steps over tiles of size t, of which the bound takes m =
ceil(bound / t). Its extent is one of ceil(m / n), n = 1, 2, ...: the fewest tiles a step that leave
n steps; more would enlarge the tile and save no step. Under ``spatial-imperfect`` loops in time
divide m, and only loops in space may leave instances idle in their last pass.

The machine's constraints hold: limits as they are, and of a dim with a fixed factor a block takes
that factor (or all tiles there are, if fewer) or the divisor that the perfect space has in its
place. Every perfect mapping belongs to both spaces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from qmc.cut_records import MAX_TILES
from qmc.mapspace import DIMS, Block, MapSpace, count_orders, divisors, tilings_within
from qmc.search_result import Factors
from qmc.targets.target import ALL_REMAINING

AXES = {None: 0, "x": 1, "y": 2}


@dataclass(frozen=True, slots=True)
class CutSpace:
    """All mappings of a layer whose loops may leave short tiles.

    Sizes are numbered by dim, 0 is a size of 1; n is the largest number of sizes.

    Attributes:
        space: the space of perfect factors.
        sizes: tile sizes of each dim, ascending from 1 to the bound.
        extents: (8, n, n) extent of a loop from one size to one not larger; 0 where there is none.
        tiles: (8, n) how many tiles of a size the bound takes.
        free: (2, 8, n, n) whether a loop in time, or in space, may take that step.
        bound: the same where the block has a fixed factor to take.
        fixed: (L, 3, 8, 2) the extents of which a block must take one; 0 where it is free.
        possible: (L, 3, 8, n) whether the blocks inside one can do with a size.
        even_dims: dims whose loops in time divide although they need not, having more than
            MAX_TILES sizes otherwise.
        perfect_dims: dims that have more than MAX_TILES sizes all the same; they keep to divisors.
    """

    space: MapSpace
    sizes: tuple[tuple[int, ...], ...]
    extents: NDArray[np.int64]
    tiles: NDArray[np.int64]
    free: NDArray[np.bool_]
    bound: NDArray[np.bool_]
    fixed: NDArray[np.int64]
    possible: NDArray[np.bool_]
    even_dims: tuple[int, ...]
    perfect_dims: tuple[int, ...]


def cut_space(space: MapSpace, factors: Factors) -> CutSpace:
    """The space of ``factors`` around the perfect one."""
    levels = len(space.target.memories)
    dividing = factors is Factors.SPATIAL_IMPERFECT
    fixed = np.zeros((levels, 3, 8, 2), np.int64)
    for block in space.blocks:
        fixed[block.level, AXES[block.axis]] = [_fixed(space, block, dim) for dim in range(8)]
    sizes = [_sizes(space, fixed, dim, dividing) for dim in range(8)]
    wide = [dim for dim in range(8) if len(sizes[dim]) > MAX_TILES]
    for dim in wide:
        sizes[dim] = _sizes(space, fixed, dim, dividing=True)
    wider = tuple(dim for dim in wide if len(sizes[dim]) > MAX_TILES)
    for dim in wider:
        sizes[dim] = divisors(space.bounds[dim])
    most = max(map(len, sizes))
    shape = (2, 8, most, most)
    found = CutSpace(
        space=space,
        sizes=tuple(sizes),
        extents=np.zeros(shape[1:], np.int64),
        tiles=np.ones(shape[1:3], np.int64),
        free=np.zeros(shape, np.bool_),
        bound=np.zeros(shape, np.bool_),
        fixed=fixed,
        possible=np.zeros((levels, 3, 8, most), np.bool_),
        even_dims=tuple(dim for dim in wide if dim not in wider),
        perfect_dims=wider,
    )
    for dim in range(8):
        _set_steps(found, dim, dividing or dim in wide)
        _set_possible(found, dim)
    return found


def with_room(space: CutSpace) -> MapSpace:
    """The perfect space with room for every loop that the cut one may have."""
    blocks = []
    for block in space.space.blocks:
        fixed = space.fixed[block.level, AXES[block.axis]]
        most = [int(max(fixed[dim])) or block.maximum[dim] for dim in range(8)]
        blocks.append(replace(block, exact=(0,) * 8, maximum=tuple(most)))
    return replace(space.space, blocks=tuple(blocks))


def _fixed(space: MapSpace, block: Block, dim: int) -> tuple[int, int]:
    """What a block must take of a dim: as in the perfect space, or as the machine says."""
    own = space.follow if DIMS[dim].value == "G" else dim
    exact = block.exact[own]
    if not exact:
        return 0, 0
    memory = space.target.memories[block.level]
    asked = {None: memory.temporal, "x": memory.spatial_x, "y": memory.spatial_y}[block.axis]
    declared = asked.factors[DIMS[own]]
    if declared == ALL_REMAINING:
        return exact, exact
    return exact, min(declared, block.limit) if block.limit else declared


def _sizes(space: MapSpace, fixed: NDArray[np.int64], dim: int, dividing: bool) -> tuple[int, ...]:
    """Tile sizes that loops of the blocks, inside out, can reach; too many if too many."""
    bound, reached = space.bounds[dim], {1}
    for block in reversed(space.blocks):
        must = [int(extent) for extent in fixed[block.level, AXES[block.axis], dim]]
        most = min(filter(None, (block.limit, block.maximum[dim])), default=bound)
        more = set(reached)
        for size in reached:
            tiles = -(-bound // size)
            if max(must):
                choices = {min(extent, tiles) for extent in must}
            elif dividing and block.axis is None:
                choices = set(divisors(tiles))
            else:
                choices = {-(-tiles // n) for n in range(1, tiles + 1)}
            more |= {min(bound, size * extent) for extent in choices if extent <= most}
            if len(more) > MAX_TILES:
                return tuple(range(MAX_TILES + 1))
        reached = more
    return tuple(sorted(reached | set(divisors(bound))))


def _set_steps(space: CutSpace, dim: int, dividing: bool) -> None:
    """Fill in ``extents``, ``tiles``, ``free`` and ``bound`` of a dim."""
    size = np.array(space.sizes[dim])
    count, whole = len(size), space.space.bounds[dim]
    tiles = -(-whole // size)
    steps = np.where(size[:, None] % size == 0, size[:, None] // size, 0)
    steps[-1] = tiles  # the bound itself needs not be divided
    some = np.maximum(steps, 1)
    fewest = -(-tiles // -(-tiles // some)) == steps
    even = (tiles % some == 0) & (steps > 0)
    divides = even & (whole % size == 0) & (whole % size[:, None] == 0)
    keeps = divides if dim in space.perfect_dims else fewest & (steps > 0)
    in_time = keeps & even if dividing else keeps
    space.extents[dim, :count, :count] = steps
    space.tiles[dim, :count] = tiles
    space.free[:, dim, :count, :count] = in_time, keeps
    space.bound[:, dim, :count, :count] = even if dividing else steps > 0, steps > 0


def _set_possible(space: CutSpace, dim: int) -> None:
    """By dim alone; G and the dim it follows are checked together when they are chosen."""
    count = len(space.sizes[dim])
    left = np.arange(count) == 0
    for block in reversed(space.space.blocks):
        space.possible[block.level, AXES[block.axis], dim, :count] = left
        left = (_block_steps(space, block, dim) & left).any(axis=1)


def _block_steps(space: CutSpace, block: Block, dim: int) -> NDArray[np.bool_]:
    """Whether a dim may go from one size to another in a block, taken alone: (n, n)."""
    count = len(space.sizes[dim])
    steps = space.extents[dim, :count, :count]
    in_space = int(block.axis is not None)
    must = space.fixed[block.level, AXES[block.axis], dim]
    pair = space.space.groups[0]
    if not max(must):
        found = space.free[in_space, dim, :count, :count]
    else:
        found = space.bound[in_space, dim, :count, :count]
        if dim in pair and all(space.space.bounds[d] > 1 for d in pair):
            found = found & (steps <= max(must))
        else:
            tiles = space.tiles[dim, :count]
            found = found & np.logical_or(*(steps == np.minimum(extent, tiles) for extent in must))
    most = min(filter(None, (block.limit, block.maximum[dim])), default=0)
    return found & (steps <= most) if most else found


def count_cut_mappings(space: CutSpace) -> int:
    """Mappings in the space before any reduction: tilings x orders x keep choices."""
    tilings = tilings_within(space.space, [_chains(space, g) for g in space.space.groups])
    return tilings * count_orders(with_room(space)) * len(space.space.keeps)


def _chains(space: CutSpace, group: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Number of ways through all blocks of the dims of ``group``, by what they use of each axis."""
    blocks = space.space.blocks
    memory: dict[tuple[int, tuple[int, ...]], dict[tuple[int, ...], int]] = {}

    def inside(index: int, numbers: tuple[int, ...]) -> dict[tuple[int, ...], int]:
        if index == len(blocks):
            return {(): 1} if not any(numbers) else {}
        if (index, numbers) not in memory:
            block = blocks[index]
            counts: dict[tuple[int, ...], int] = {}
            is_axis = block.axis is not None and block.limit > 1
            for taken, left in _block_choices(space, block, group, numbers):
                for axes, count in inside(index + 1, left).items():
                    key = (taken, *axes) if is_axis else axes
                    counts[key] = counts.get(key, 0) + count
            memory[index, numbers] = counts
        return memory[index, numbers]

    return inside(0, tuple(len(space.sizes[dim]) - 1 for dim in group))


def _block_choices(
    space: CutSpace, block: Block, group: tuple[int, ...], numbers: tuple[int, ...]
) -> list[tuple[int, tuple[int, ...]]]:
    """Product of the extents that a block takes of a group, and numbers of the sizes inside."""
    in_space, place = int(block.axis is not None), (block.level, AXES[block.axis])
    must = space.fixed[(*place, group[-1])]
    table = space.bound if max(must) else space.free
    rows = [
        np.flatnonzero(table[in_space, dim, number] & space.possible[(*place, dim)])
        for dim, number in zip(group, numbers, strict=True)
    ]
    most = min(filter(None, (block.limit, block.maximum[group[-1]])), default=0)
    found = []
    for inner in product(*(row.tolist() for row in rows)):
        parts = list(zip(group, numbers, inner, strict=True))
        taken = prod(int(space.extents[part]) for part in parts)
        tiles = prod(int(space.tiles[dim, to]) for dim, _, to in parts)
        if max(must) and taken not in {min(int(extent), tiles) for extent in must}:
            continue
        if not most or taken <= most:
            found.append((taken, inner))
    return found
