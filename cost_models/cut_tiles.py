"""Tiles of a nest whose loops do not divide their dims: how many there are, and how large.

A *moment* is the number of a loop in time, outermost 0: that loop steps on, those inside it begin
anew. Every tile but the first of its instance belongs to one moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from qmc.cost_models.nest import Extents, Nest, extents
from qmc.cost_models.tiles import Step, box_sides, volume
from qmc.layer import RELEVANT, Layer, LoopDim, Operand
from qmc.mapping import Loop

#: Window dims along the height and the width of I.
WINDOWS = ((LoopDim.P, LoopDim.R), (LoopDim.Q, LoopDim.S))
#: The moment before any loop in time has stepped.
START = -1


@dataclass(frozen=True, slots=True)
class _Outside:
    """A loop outside a level.

    Attributes:
        dim, extent: as in the mapping.
        step: what one iteration adds to the dim's index.
        moment: number among the loops in time; None in space.
        apart: in space: whether instances count one by one; else the first stands for all.
    """

    dim: LoopDim
    extent: int
    step: int
    moment: int | None
    apart: bool

    def positions(self, moment: int | None) -> range:
        """Indices at a moment; over the whole run if that is None."""
        if self.moment is None:
            return range(self.extent if self.apart else 1)
        if moment is None or self.moment < moment:
            return range(self.extent)
        return range(1, self.extent) if self.moment == moment else range(1)


@dataclass(frozen=True, slots=True)
class CutTiles:
    """The tiles of one level over the run, cut to the points of the layer.

    Attributes:
        layer: the layer.
        full: extents of a tile that no loop outside cuts, none above its bound.
        loops: all loops outside the level, outermost first.
    """

    layer: Layer
    full: Extents
    loops: tuple[_Outside, ...]

    def visits(self) -> int:
        """Tiles over the whole run."""
        return prod(self._pairs(dim, None).total() for dim in LoopDim)

    def elements(self, operand: Operand, moment: int | None) -> int:
        """Elements of all tiles of a moment, or of the run."""
        if operand is not Operand.I:
            return prod(
                self._sum(dim, moment)
                if dim in RELEVANT[operand]
                else self._pairs(dim, moment).total()
                for dim in LoopDim
            )
        total = self._pairs(LoopDim.K, moment).total()
        total *= prod(self._sum(dim, moment) for dim in (LoopDim.N, LoopDim.G, LoopDim.C))
        return total * prod(self._lengths(side, moment)[0] for side in range(2))

    def arriving(self, operand: Operand, step: Step, moment: int) -> int:
        """Elements of the tiles of a moment that those right before did not have.

        Args:
            operand: whose tiles.
            step: what the loop of that moment does to tiles that are not cut.
            moment: which.
        """
        if not step.elements:
            return 0
        whole = self.elements(operand, moment)
        if step.elements == volume(box_sides(self.layer, operand, self.full)):
            return whole
        (high, high_kept), (wide, wide_kept) = (self._lengths(side, moment) for side in range(2))
        return whole - whole // (high * wide) * high_kept * wide_kept if whole else 0

    def distinct_outputs(self) -> int:
        """Output elements that the instances ever see, each by itself."""
        return prod(
            self._sum(dim, None) if dim in RELEVANT[Operand.O] else self._pairs(dim, START).total()
            for dim in LoopDim
        )

    def _sum(self, dim: LoopDim, moment: int | None) -> int:
        """Extents along a dim of all tiles of a moment."""
        return sum(new * count for (new, _), count in self._pairs(dim, moment).items())

    def _lengths(self, side: int, moment: int | None) -> tuple[int, int]:
        """Rows (or columns) of I's boxes of a moment, and those that the boxes before had."""
        outputs, taps = WINDOWS[side]
        stride, dilation = self.layer.strides[side], self.layer.dilations[side]
        start = self._back(outputs, moment) * stride + self._back(taps, moment) * dilation
        total = kept = 0
        for (p, old_p), many in self._pairs(outputs, moment).items():
            for (r, old_r), times in self._pairs(taps, moment).items():
                length = (p - 1) * stride + (r - 1) * dilation + 1
                total += many * times * length
                if old_p and old_r:
                    end = start + (old_p - 1) * stride + (old_r - 1) * dilation + 1
                    kept += many * times * max(0, min(length, end) - max(0, start))
        return total, kept

    def _back(self, dim: LoopDim, moment: int | None) -> int:
        """Where along a dim the tile before a moment's began, seen from its own beginning.

        The loop of the moment stood one step back, those inside at their second position.
        """
        if moment is None or moment == START:
            return 0
        inside = sum(x.step for x in self.loops if x.dim is dim and (x.moment or 0) > moment)
        return inside - sum(x.step for x in self.loops if x.dim is dim and x.moment == moment)

    def _pairs(self, dim: LoopDim, moment: int | None) -> Counter[tuple[int, int]]:
        """Extents along a dim of the tiles of a moment and of those right before them.

        A tile before that does not exist has extent 0.
        """
        spans = [(x.step, x.positions(moment)) for x in self.loops if x.dim is dim]
        back = self._back(dim, moment)
        return _pairs(spans, self.layer.bounds[dim], self.full[dim], back)


def _pairs(
    spans: list[tuple[int, range]], left: int, full: int, back: int
) -> Counter[tuple[int, int]]:
    """The same from one loop on inwards, with ``left`` of the bound from its beginning."""
    if left <= 0:
        return Counter()
    deepest = sum(step * places[-1] for step, places in spans)
    if left - deepest >= full + max(back, 0):
        return Counter({(full, full): prod(len(places) for _, places in spans)})
    if not spans:
        return Counter({(min(full, left), min(full, max(left - back, 0))): 1})
    step, places = spans[0]
    found: Counter[tuple[int, int]] = Counter()
    for place in places:
        found += _pairs(spans[1:], left - place * step, full, back)
    return found


def cut_tiles(nest: Nest, level: int, apart: Callable[[int, Loop], bool]) -> CutTiles:
    """The tiles of ``level``.

    Args:
        nest: the mapping.
        level: whose tiles.
        apart: of a level and a loop in space below it: whether its instances count one by one.
    """
    inside = range(level, nest.mac_index)
    reach = extents(loop for at in inside for loop in (*nest.temporal[at], *nest.spatial[at]))
    full = {dim: min(extent, nest.layer.bounds[dim]) for dim, extent in reach.items()}
    moment = sum(len(loops) for loops in nest.temporal[:level])
    found: list[_Outside] = []
    for at in reversed(range(level)):
        for loop in reversed((*nest.temporal[at], *nest.spatial[at])):
            in_time = loop.spatial is None
            moment -= in_time
            own = moment if in_time else None
            is_apart = not in_time and apart(at, loop)
            found.append(_Outside(loop.dim, loop.extent, reach[loop.dim], own, is_apart))
            reach[loop.dim] *= loop.extent
    return CutTiles(nest.layer, full, tuple(reversed(found)))
