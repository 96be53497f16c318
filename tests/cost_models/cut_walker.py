"""A second evaluator of nests that cut their last tiles: every step, every instance, every element.

The nest runs as that of a larger layer, whose bounds its extents multiply to. What the larger nest
does at a step (a tile stays, slides, or is replaced) is read off sets of elements of its tiles; the
elements counted are those that points of the layer touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Mapping
from qmc.targets.target import Target
from tests.cost_models.walker import Element, Walker, _axes, boxed, element

#: Chosen index of every loop so far, by position in the nest.
Place = dict[int, int]
NOTHING: frozenset[Element] = frozenset()


@dataclass
class Count:
    reads: int = 0
    fills: int = 0
    updates: int = 0
    final: int = 0
    tile: int = 0


class CutWalker(Walker):
    """A nest whose points beyond the layer do not exist."""

    def exists(self, place: Place) -> bool:
        at = self.point(place)
        return all(at[dim] < self.layer.bounds[dim] for dim in LoopDim)

    def tile(self, operand: Operand, holder: int, base: Place) -> frozenset[Element]:
        """The tile as it would be at any place if nothing were cut: as large as the first."""
        inside = self.positions(False, holder, self.levels)
        inside += self.positions(True, holder, self.levels)
        spans = (range(self.loops[p][0].extent) for p in inside)
        places = (dict(zip(inside, chosen, strict=True)) for chosen in product(*spans))
        return boxed(
            {element(self.layer, operand, self.point(base | x)) for x in places if self.exists(x)}
        )

    def real(self, operand: Operand, holder: int, base: Place) -> frozenset[Element]:
        """The box of a tile around the points that exist."""
        inside = self.positions(False, holder, self.levels)
        inside += self.positions(True, holder, self.levels)
        spans = (range(self.loops[p][0].extent) for p in inside)
        places = (base | dict(zip(inside, chosen, strict=True)) for chosen in product(*spans))
        found = {element(self.layer, operand, self.point(x)) for x in places if self.exists(x)}
        return boxed(found) if found else NOTHING

    def every_step(self, holder: int) -> Iterator[Place]:
        outside = self.positions(False, 0, holder)
        spans = (range(self.loops[p][0].extent) for p in outside)
        for chosen in product(*spans):
            yield dict(zip(outside, chosen, strict=True))

    def before(self, step: Place) -> Place | None:
        """The step this one is taken to come from: loops that wrap were at their second index."""
        order = sorted(step)
        moved = [p for p in order if step[p]]
        if not moved:
            return None
        last = moved[-1]
        inside = {p: 1 for p in order if p > last}
        return step | {last: step[last] - 1} | inside

    def fetched(
        self, operand: Operand, holder: int, step: Place, place: Place
    ) -> frozenset[Element]:
        """The part of a tile that has to come from outside at a step, cut to what exists."""
        new = self.real(operand, holder, step | place)
        before = self.before(step)
        if before is None or holder == self.levels:
            return new
        direction = self._direction(operand, holder, before, step)
        if direction is None:
            return NOTHING
        if direction == (0, 0):
            return new
        return new - self.real(operand, holder, before | place)

    def _direction(
        self, operand: Operand, holder: int, before: Place, step: Place
    ) -> tuple[int, int] | None:
        """How the whole tile moves: None it stays, (0, 0) it is replaced, else axis and sign."""
        move = self._slide(operand, holder, before, step)
        innermost = max(step)
        if move is None or step[innermost]:
            return move
        start = dict.fromkeys(step, 0)
        usual = self._slide(operand, holder, start, start | {innermost: 1})
        return move if usual in (None, (0, 0), move) else (0, 0)

    def _slide(
        self, operand: Operand, holder: int, before: Place, step: Place
    ) -> tuple[int, int] | None:
        old, new = self.tile(operand, holder, before), self.tile(operand, holder, step)
        moves = [
            (axis + 1, min(b) - min(a))
            for axis, (a, b) in enumerate(zip(_axes(old), _axes(new), strict=True))
            if min(a) != min(b)
        ]
        if not moves:
            return None
        if len(moves) > 1 or not old & new:
            return (0, 0)
        return moves[0][0], 1 if moves[0][1] > 0 else -1


def steps_in_time(layer: Layer, target: Target, mapping: Mapping) -> int:
    """Steps at which any instance works."""
    walker = CutWalker(layer, target, mapping)
    everywhere = walker.instances(0, walker.levels)
    return sum(
        any(walker.exists(step | place) for place in everywhere)
        for step in walker.every_step(walker.levels)
    )


def walk(
    layer: Layer, target: Target, mapping: Mapping
) -> dict[tuple[int, Operand], tuple[Count, Count]]:
    """Counts of instance 0 and of all instances together, by level index and operand."""
    walker = CutWalker(layer, target, mapping)
    counts: dict[tuple[int, Operand], tuple[Count, Count]] = {}
    for operand in Operand:
        holders = [i for i in range(walker.levels) if operand in walker.keeps[i]]
        for holder in holders:
            tile = len(walker.real(operand, holder, {}))
            counts[holder, operand] = Count(tile=tile), Count(tile=tile)
        for outer, inner in zip(holders, [*holders[1:], walker.levels], strict=True):
            for number, place in enumerate(walker.instances(0, outer)):
                found = Count()
                _exchange(walker, operand, (outer, inner), place, found)
                _add(counts[outer, operand], found, number == 0)
        for inner in holders[1:]:
            for number, place in enumerate(walker.instances(0, inner)):
                found = Count(fills=_fills(walker, operand, inner, place))
                _add(counts[inner, operand], found, number == 0)
    return counts


def _add(pair: tuple[Count, Count], found: Count, is_first: bool) -> None:
    for count in pair if is_first else pair[1:]:
        count.reads += found.reads
        count.fills += found.fills
        count.updates += found.updates
        count.final += found.final


def _fills(walker: CutWalker, operand: Operand, inner: int, place: Place) -> int:
    """Elements that come into one instance; of O those that it has seen before."""
    total = 0
    seen: set[Element] = set()
    for step in walker.every_step(inner):
        fetched = walker.fetched(operand, inner, step, place)
        total += len(fetched & seen if operand is Operand.O else fetched)
        seen |= fetched
    return total


def _exchange(
    walker: CutWalker, operand: Operand, holders: tuple[int, int], own: Place, count: Count
) -> None:
    """What one instance of the outer holder hands in, or takes back."""
    outer, inner = holders
    below = walker.instances(outer, inner)
    blocks = walker.blocks(outer, inner)
    seen: set[Element] = set()
    for step in walker.every_step(inner):
        groups: dict[object, set[Element]] = {}
        for place in below:
            shares = tuple(
                walker.tile(operand, inner, step | {p: place[p] for p in block}) for block in blocks
            )
            fetched = walker.fetched(operand, inner, step, own | place)
            groups.setdefault(shares, set()).update(fetched)
        for group in groups.values():
            if operand is Operand.O:
                count.updates += len(group)
                count.reads += len(group & seen)
                seen |= group
            else:
                count.reads += len(group)
    split = any(walker.loops[p][0].dim in (LoopDim.C, LoopDim.R, LoopDim.S) for p in own)
    count.final = 0 if split else len(seen)
