"""A second evaluator: walks a tiny nest step by step and keeps sets of elements. Slow and literal.

Of every loop in time the first two positions are walked, the second weighted by the number of steps
it stands for (for extents up to 2 this is the whole nest).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Loop, Mapping
from qmc.targets.target import Target

Element = tuple[int, ...]
Point = dict[LoopDim, int]


@dataclass
class Count:
    reads: int = 0
    fills: int = 0
    updates: int = 0
    tile: int = 0


@dataclass
class Window:
    """What one instance holds, and which way it moved last."""

    held: frozenset[Element] | None = None
    direction: tuple[int, int] | None = None
    seen: set[Element] = field(default_factory=set)

    def fetch(self, tile: frozenset[Element]) -> frozenset[Element]:
        """Take ``tile``; the part that had to come from outside."""
        old, self.held = self.held, tile
        if old is None:
            return tile
        moves = [
            (axis, min(new) - min(before))
            for axis, (new, before) in enumerate(zip(_axes(tile), _axes(old), strict=True))
            if min(new) != min(before)
        ]
        if not moves:
            self.direction = None
            return frozenset()
        direction = (moves[0][0], 1 if moves[0][1] > 0 else -1)
        slides = len(moves) == 1 and bool(tile & old)
        if slides and self.direction in (None, direction):
            self.direction = direction
            return tile - old
        self.direction = None
        return tile


def _axes(box: frozenset[Element]) -> list[tuple[int, ...]]:
    return list(zip(*box, strict=True))


def element(layer: Layer, operand: Operand, at: Point) -> Element:
    D = LoopDim
    if operand is Operand.W:
        return tuple(at[d] for d in (D.G, D.K, D.C, D.R, D.S))
    if operand is Operand.O:
        return tuple(at[d] for d in (D.N, D.G, D.K, D.P, D.Q))
    row = at[D.P] * layer.strides[0] + at[D.R] * layer.dilations[0]
    column = at[D.Q] * layer.strides[1] + at[D.S] * layer.dilations[1]
    return (at[D.N], at[D.G], at[D.C], row, column)


def boxed(elements: set[Element]) -> frozenset[Element]:
    """The smallest box around the elements: halos and skipped rows are held too."""
    spans = [range(min(axis), max(axis) + 1) for axis in zip(*elements, strict=True)]
    return frozenset(product(*spans))


class Walker:
    """A nest with its loops' distances."""

    def __init__(self, layer: Layer, target: Target, mapping: Mapping) -> None:
        names = [level.name for level in target.memories]
        self.layer = layer
        self.levels = len(names)
        self.loops: list[tuple[Loop, int]] = []
        for index, name in enumerate(names):
            own = [loop for loop in mapping.loops if loop.level == name]
            self.loops += [(loop, index) for loop in own if loop.spatial is None]
            self.loops += [(loop, index) for loop in own if loop.spatial is not None]
        self.distance = []
        for position, (loop, _) in enumerate(self.loops):
            distance = 1
            for other, _ in self.loops[position + 1 :]:
                distance *= other.extent if other.dim is loop.dim else 1
            self.distance.append(distance)
        self.keeps = [
            {operand for operand in Operand if mapping.keeps(name, operand)} for name in names
        ]

    def point(self, chosen: dict[int, int]) -> Point:
        at = dict.fromkeys(LoopDim, 0)
        for position, index in chosen.items():
            at[self.loops[position][0].dim] += index * self.distance[position]
        return at

    def positions(self, spatial: bool, low: int, high: int) -> list[int]:
        return [
            position
            for position, (loop, level) in enumerate(self.loops)
            if low <= level < high and (loop.spatial is not None) == spatial
        ]

    def steps(self, holder: int) -> Iterator[tuple[dict[int, int], int]]:
        """Positions of the loops in time outside a holder, with weights, in order."""
        outside = self.positions(False, 0, holder)
        for chosen in product(*(range(min(2, self.loops[p][0].extent)) for p in outside)):
            weight = 1
            for position, index in zip(outside, chosen, strict=True):
                weight *= self.loops[position][0].extent - 1 if index else 1
            yield dict(zip(outside, chosen, strict=True)), weight

    def instances(self, low: int, high: int) -> list[dict[int, int]]:
        inside = self.positions(True, low, high)
        spans = (range(self.loops[p][0].extent) for p in inside)
        return [dict(zip(inside, chosen, strict=True)) for chosen in product(*spans)]

    def tile(self, operand: Operand, holder: int, base: dict[int, int]) -> frozenset[Element]:
        inside = self.positions(False, holder, self.levels) + self.positions(
            True, holder, self.levels
        )
        spans = (range(self.loops[p][0].extent) for p in inside)
        elements = set()
        for chosen in product(*spans):
            everything = base | dict(zip(inside, chosen, strict=True))
            elements.add(element(self.layer, operand, self.point(everything)))
        return boxed(elements)

    def blocks(self, outer: int, inner: int) -> list[list[int]]:
        """Loops in space between two holders, by level and axis."""
        groups: dict[tuple[int, str | None], list[int]] = {}
        for position in self.positions(True, outer, inner):
            loop, level = self.loops[position]
            groups.setdefault((level, loop.spatial), []).append(position)
        return list(groups.values())


def walk(layer: Layer, target: Target, mapping: Mapping) -> dict[tuple[int, Operand], Count]:
    """Counts of instance 0 of every memory, by level index and operand; first fills elided."""
    walker = Walker(layer, target, mapping)
    counts: dict[tuple[int, Operand], Count] = {}
    for operand in Operand:
        holders = [i for i in range(walker.levels) if operand in walker.keeps[i]]
        for holder in holders:
            counts[holder, operand] = Count(tile=len(walker.tile(operand, holder, {})))
        for outer, inner in zip(holders, [*holders[1:], walker.levels], strict=True):
            exchange = _exchange_output if operand is Operand.O else _exchange_input
            exchange(walker, operand, outer, inner, counts)
    return counts


def _exchange_input(
    walker: Walker,
    operand: Operand,
    outer: int,
    inner: int,
    counts: dict[tuple[int, Operand], Count],
) -> None:
    windows: dict[tuple[tuple[int, int], ...], Window] = {}
    instances = walker.instances(outer, inner)
    for step, weight in walker.steps(inner):
        deliveries = set()
        for number, place in enumerate(instances):
            tile = walker.tile(operand, inner, step | place)
            window = windows.setdefault(tuple(sorted(place.items())), Window())
            fetched = tile if inner == walker.levels else window.fetch(tile)
            shares = tuple(
                walker.tile(operand, inner, step | {p: place[p] for p in block})
                for block in walker.blocks(outer, inner)
            )
            if fetched:
                deliveries.add((shares, len(fetched)))
            if number == 0 and inner < walker.levels:
                counts[inner, operand].fills += weight * len(fetched)
        counts[outer, operand].reads += weight * sum(size for _, size in deliveries)


def _exchange_output(
    walker: Walker,
    operand: Operand,
    outer: int,
    inner: int,
    counts: dict[tuple[int, Operand], Count],
) -> None:
    """Outputs need every step: what was seen before decides between a first write and a sum."""
    outside = walker.positions(False, 0, inner)
    spans = [range(walker.loops[p][0].extent) for p in outside]
    held: frozenset[Element] | None = None
    seen_outside: set[Element] = set()
    seen_inside: set[Element] = set()
    for chosen in product(*spans):
        step = dict(zip(outside, chosen, strict=True))
        tile = walker.tile(operand, inner, step)
        if inner < walker.levels:
            if tile == held:
                continue
            counts[inner, operand].fills += len(tile & seen_inside)
            seen_inside |= tile
        held = tile
        sums = set().union(
            *(walker.tile(operand, inner, step | place) for place in walker.instances(outer, inner))
        )
        counts[outer, operand].updates += len(sums)
        counts[outer, operand].reads += len(sums & seen_outside)
        seen_outside |= sums
