"""The map space of a layer on a machine: which loops may stand where.

A mapping puts a factor of every loop dim into every *block* (the temporal loops of a memory, or one
axis of the fan-out below it), orders the temporal blocks, and decides what each memory keeps.
Factors are perfect: those of a dim multiply to its bound. Blocks are listed outermost first, for
each memory its temporal block, then its x and y axes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations, product
from operator import le, mul

from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping
from qmc.targets.target import ALL_REMAINING, LoopConstraint, MemoryLevel, Target

#: Position of every loop dim in factor tuples.
DIMS: tuple[LoopDim, ...] = tuple(LoopDim)
#: Factors of one block, in the order of :data:`DIMS`.
Factors = tuple[int, ...]
#: Factors of every block, outermost first.
Tiling = tuple[Factors, ...]

_GROUP = DIMS.index(LoopDim.G)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of loops and what a layer may put there.

    The group loop G and the dim it follows share ``exact`` and ``maximum``: these limit the product
    of their two factors.

    Attributes:
        level: index of the memory, 0 outermost.
        axis: None for the temporal block, "x" or "y" for an axis of the fan-out.
        limit: largest product of all factors (instances along the axis); 0 for no limit.
        exact: required factor by dim; 0 leaves it free.
        maximum: largest factor by dim; 0 for no limit.
        order: dims whose loops lie innermost, innermost first; the others lie outside in any order.
    """

    level: int
    axis: str | None
    limit: int
    exact: Factors
    maximum: Factors
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MapSpace:
    """All mappings of a layer that a machine's constraints allow, capacities aside.

    Attributes:
        layer, target: whose.
        bounds: loop bounds by dim.
        blocks: outermost first.
        keeps: the choices of what the memories keep, each one entry per memory.
        follow: index of the dim whose constraints G obeys.
    """

    layer: Layer
    target: Target
    bounds: Factors
    blocks: tuple[Block, ...]
    keeps: tuple[tuple[Keep, ...], ...]
    follow: int

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Dims that are constrained together: (G, followed) and every other dim alone."""
        pair = (_GROUP, self.follow)
        return (pair, *((dim,) for dim in range(len(DIMS)) if dim not in pair))


def map_space(layer: Layer, target: Target) -> MapSpace:
    """The map space of ``layer`` on ``target``.

    Raises:
        NoMappingError: the constraints leave part of a loop no place.
    """
    follow = DIMS.index(target.groups_follow)
    bounds = tuple(layer.bounds[dim] for dim in DIMS)
    declared = [block for level in enumerate(target.memories) for block in _level_blocks(*level)]
    exact = _exact_factors(bounds, declared, follow)
    blocks = tuple(
        _block(level, axis, limit, constraint, fixed, follow)
        for (level, axis, limit, constraint), fixed in zip(declared, exact, strict=True)
    )
    keeps = tuple(product(*(_keep_choices(memory) for memory in target.memories)))
    space = MapSpace(layer, target, bounds, blocks, keeps, follow)
    for group in space.groups:
        if not completions(space, group):
            raise NoMappingError(layer.name, target.name, _no_place(space, group))
    return space


_Declared = tuple[int, str | None, int, LoopConstraint]


def _level_blocks(index: int, memory: MemoryLevel) -> Iterator[_Declared]:
    yield index, None, 0, memory.temporal
    yield index, "x", memory.fanout_x, memory.spatial_x
    yield index, "y", memory.fanout_y, memory.spatial_y


def _exact_factors(
    bounds: Factors, declared: list[_Declared], follow: int
) -> list[dict[LoopDim, int]]:
    """Fixed factors by block, made to divide the bounds.

    A fixed factor takes the largest divisor, not above it, of what the fixed factors of the blocks
    outside it leave; ``ALL_REMAINING`` takes what all other fixed factors leave. Neither takes
    more than the axis has.
    """
    exact: list[dict[LoopDim, int]] = [{} for _ in declared]
    for dim_index, dim in enumerate(DIMS):
        rest = bounds[dim_index] * (bounds[_GROUP] if dim_index == follow else 1)
        fixed = [(i, b[3].factors[dim]) for i, b in enumerate(declared) if dim in b[3].factors]
        for i, factor in sorted(fixed, key=lambda item: item[1] == ALL_REMAINING):
            room = rest if factor == ALL_REMAINING else factor
            limit = declared[i][2]
            exact[i][dim] = largest_divisor(rest, min(room, limit) if limit else room)
            rest //= exact[i][dim]
    return exact


def _block(
    level: int,
    axis: str | None,
    limit: int,
    constraint: LoopConstraint,
    exact: dict[LoopDim, int],
    follow: int,
) -> Block:
    order = tuple(DIMS.index(dim) for dim in constraint.order if dim is not LoopDim.G)
    if follow in order:  # a group loop lies right outside the one it follows
        at = order.index(follow) + 1
        order = (*order[:at], _GROUP, *order[at:])
    return Block(
        level=level,
        axis=axis,
        limit=limit,
        exact=tuple(exact.get(dim, 0) for dim in DIMS),
        maximum=tuple(constraint.maximum.get(dim, 0) for dim in DIMS),
        order=order,
    )


def _keep_choices(memory: MemoryLevel) -> tuple[Keep, ...]:
    free = [o for o in Operand if o not in memory.keep and o not in memory.bypass]
    subsets = (c for size in range(len(free), -1, -1) for c in combinations(free, size))
    return tuple(Keep(memory.name, memory.keep | frozenset(subset)) for subset in subsets)


@lru_cache(maxsize=4096)
def divisors(number: int) -> tuple[int, ...]:
    """Divisors, ascending."""
    low = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return tuple(low + [number // d for d in reversed(low) if d * d != number])


def largest_divisor(number: int, limit: int) -> int:
    """Largest divisor of ``number`` that is not above ``limit``."""
    return max(d for d in divisors(number) if d <= max(limit, 1))


@dataclass(frozen=True, slots=True)
class _Place:
    """What one block allows the dims of one group; see :class:`Block`."""

    limit: int
    exact: int
    maximum: int
    is_axis: bool


def _place(block: Block, group: tuple[int, ...], follow: int) -> _Place:
    dim = follow if len(group) > 1 else group[0]
    is_axis = block.axis is not None and block.limit > 1
    return _Place(block.limit, block.exact[dim], block.maximum[dim], is_axis)


def block_factors(
    block: Block, group: tuple[int, ...], rest: tuple[int, ...], follow: int
) -> Iterator[tuple[int, ...]]:
    """Factors the dims of ``group`` may have in ``block`` when ``rest`` is left of their bounds."""
    return _factors_at(_place(block, group, follow), rest)


def _factors_at(place: _Place, rest: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    for factors in product(*(divisors(bound) for bound in rest)):
        taken = math.prod(factors)
        if place.exact not in (0, taken):
            continue
        if place.maximum and taken > place.maximum:
            continue
        if place.limit and taken > place.limit:
            continue
        yield factors


def completions(space: MapSpace, group: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """Number of factorizations of the dims of ``group`` by the factors they use of each axis.

    Returns:
        Products of the group's factors, one for each axis of more than one instance, outermost
        first -> number of factorizations.
    """
    places = tuple(_place(block, group, space.follow) for block in space.blocks)
    return _completions(places, tuple(space.bounds[dim] for dim in group))


@lru_cache(maxsize=1 << 16)
def _completions(places: tuple[_Place, ...], rest: tuple[int, ...]) -> dict[tuple[int, ...], int]:
    """The same of the blocks from one on inwards; layers of a network share most of it."""
    if not places:
        return {(): 1} if math.prod(rest) == 1 else {}
    counts: dict[tuple[int, ...], int] = {}
    for factors in _factors_at(places[0], rest):
        left = tuple(r // f for r, f in zip(rest, factors, strict=True))
        used = (math.prod(factors),) if places[0].is_axis else ()
        for axes, count in _completions(places[1:], left).items():
            counts[used + axes] = counts.get(used + axes, 0) + count
    return counts


def count_tilings(space: MapSpace) -> int:
    """Number of tilings within the fan-outs, capacities aside."""
    return tilings_within(space, [completions(space, group) for group in space.groups])


def tilings_within(space: MapSpace, ways: Iterable[dict[tuple[int, ...], int]]) -> int:
    """Number of tilings within the fan-outs.

    Args:
        space: whose axes.
        ways: of every group of dims, its ways through the blocks by what they use of each axis.
    """
    limits = [block.limit for block in space.blocks if block.axis and block.limit > 1]
    totals: dict[tuple[int, ...], int] = {(1,) * len(limits): 1}
    for found in ways:
        if len(found) == 1 and math.prod(*found) == 1:  # off all axes
            (times,) = found.values()
            totals = {axes: count * times for axes, count in totals.items()}
        else:
            totals = _join(totals, found, limits)
    return sum(totals.values())


def _join(
    totals: dict[tuple[int, ...], int], found: dict[tuple[int, ...], int], limits: list[int]
) -> dict[tuple[int, ...], int]:
    """Tilings of two sets of dims together, by the factors they use of each axis."""
    joined: dict[tuple[int, ...], int] = {}
    for left, a in totals.items():
        room = [limit // used for limit, used in zip(limits, left, strict=True)]
        for right, b in found.items():
            if all(map(le, right, room)):
                axes = tuple(map(mul, left, right))
                joined[axes] = joined.get(axes, 0) + a * b
    return joined


def count_orders(space: MapSpace) -> int:
    """Orders of all temporal blocks together, counting every dim that a block may loop over."""
    total = 1
    for block in space.blocks:
        if block.axis is None:
            free = [d for d in loopable_dims(space, block) if d not in block.order]
            total *= math.factorial(len(free))
    return total


def loopable_dims(space: MapSpace, block: Block) -> list[int]:
    """Dims that may have a factor above 1 in ``block``."""
    own = {dim: space.follow if dim == _GROUP else dim for dim in range(len(DIMS))}
    return [
        dim
        for dim in range(len(DIMS))
        if space.bounds[dim] > 1 and block.exact[own[dim]] != 1 and block.maximum[own[dim]] != 1
    ]


def space_size(space: MapSpace) -> int:
    """Mappings in the space before any reduction: tilings × orders × keep choices."""
    return count_tilings(space) * count_orders(space) * len(space.keeps)


def tilings(space: MapSpace) -> Iterator[Tiling]:
    """Every tiling within the fan-outs, in a fixed order."""
    groups = space.groups

    def inside(index: int, rest: Factors) -> Iterator[Tiling]:
        if index == len(space.blocks):
            if math.prod(rest) == 1:
                yield ()
            return
        block = space.blocks[index]
        choices = [
            block_factors(block, group, tuple(rest[d] for d in group), space.follow)
            for group in groups
        ]
        for choice in product(*choices):
            factors = [1] * len(DIMS)
            for group, taken in zip(groups, choice, strict=True):
                for dim, factor in zip(group, taken, strict=True):
                    factors[dim] = factor
            if block.limit and math.prod(factors) > block.limit:
                continue
            left = tuple(r // f for r, f in zip(rest, factors, strict=True))
            for inner in inside(index + 1, left):
                yield (tuple(factors), *inner)

    return inside(0, space.bounds)


def orders(block: Block, factors: Factors) -> Iterator[tuple[int, ...]]:
    """Every order, innermost first, of the loops of a temporal block that have a factor above 1."""
    inner = tuple(dim for dim in block.order if factors[dim] > 1)
    free = [dim for dim in range(len(DIMS)) if factors[dim] > 1 and dim not in block.order]
    for outer in permutations(free):
        yield inner + outer


def to_mapping(
    space: MapSpace,
    tiling: Tiling,
    block_orders: tuple[tuple[int, ...], ...],
    keep: tuple[Keep, ...],
) -> Mapping:
    """A mapping from its tiling and, for each block, its looped dims, innermost first."""
    loops = [
        Loop(DIMS[dim], factors[dim], space.target.memories[block.level].name, block.axis)
        for block, factors, order in zip(space.blocks, tiling, block_orders, strict=True)
        for dim in reversed(order)
    ]
    return Mapping(tuple(loops), keep)


def all_mappings(space: MapSpace) -> Iterator[Mapping]:
    """Every mapping of the space with every order, capacities aside. For small layers."""
    for tiling in tilings(space):
        block_orders = [
            list(orders(block, factors)) if block.axis is None else [_active(factors)]
            for block, factors in zip(space.blocks, tiling, strict=True)
        ]
        for order in product(*block_orders):
            for keep in space.keeps:
                yield to_mapping(space, tiling, order, keep)


def _active(factors: Factors) -> tuple[int, ...]:
    return tuple(dim for dim, factor in enumerate(factors) if factor > 1)


def _no_place(space: MapSpace, group: tuple[int, ...]) -> str:
    """Why the factors of ``group`` cannot reach the bounds."""
    dim = group[-1]
    name = "*".join(str(DIMS[d]) for d in group if space.bounds[d] > 1)
    bound = math.prod(space.bounds[d] for d in group)
    places = []
    for block in space.blocks:
        memory = space.target.memories[block.level]
        asked = {None: memory.temporal, "x": memory.spatial_x, "y": memory.spatial_y}[block.axis]
        whole = asked.factors.get(DIMS[dim]) == ALL_REMAINING
        largest = block.limit if whole else block.exact[dim] or block.maximum[dim] or block.limit
        if largest != 1:
            where = space.target.memories[block.level].name + (
                f".{block.axis}" if block.axis else ""
            )
            places.append(f"{where} {'any' if largest == 0 else f'at most {largest}'}")
    allowed = ", ".join(places) or "nowhere"
    change = ""
    if len(places) == 1:
        change = f"; nearest change: room for {bound} at {places[0].partition(' ')[0]}"
    return (
        f"loop {name} has extent {bound}, which the constraints cannot place (allowed: {allowed})"
        f"{change}"
    )
