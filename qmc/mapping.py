"""A mapping: every loop of a layer with the memory level and the time or space it runs in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from qmc.layer import LoopBounds, LoopDim, Operand


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of a nest.

    Attributes:
        dim: the loop dim it steps through.
        extent: number of steps. The extents of a dim multiply to its bound (perfect factors), or to
            more: then every loop steps over full tiles, of the product of the extents inside it,
            and what lies beyond the bound is left out (:func:`covers`).
        level: name of the memory whose block of loops it belongs to. A temporal loop of a level
            steps through the tiles that the level hands to the next inner one; a spatial loop
            unrolls over the instances right below the level.
        spatial: None for a loop in time, "x" or "y" for the axis of the array it runs along.
    """

    dim: LoopDim
    extent: int
    level: str
    spatial: str | None = None


def covers(extents: Sequence[int], bound: int) -> bool:
    """Whether loops of one dim, outermost first, cover its bound without an idle step.

    Either they divide it, or its last tile is short: then the outermost loop takes a step for every
    tile that the loops inside it begin.
    """
    inside = prod(extents[1:])
    return prod(extents) == bound or (inside < bound and extents[0] == -(-bound // inside))


@dataclass(frozen=True, slots=True)
class Keep:
    """The operands that a memory level keeps; others bypass it."""

    level: str
    operands: frozenset[Operand]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A layer's loops, outermost first; in each level the temporal loops precede the spatial ones.

    Attributes:
        loops: loops of extent 1 may be left out.
        keep: one entry per memory level, outermost first.
    """

    loops: tuple[Loop, ...]
    keep: tuple[Keep, ...]

    def keeps(self, level: str, operand: Operand) -> bool:
        """Whether ``level`` keeps ``operand``."""
        return any(keep.level == level and operand in keep.operands for keep in self.keep)

    def is_cut(self, bounds: LoopBounds) -> bool:
        """Whether loops of a dim multiply to more than its bound: its last tile is short."""
        whole = dict.fromkeys(LoopDim, 1)
        for loop in self.loops:
            whole[loop.dim] *= loop.extent
        return any(whole[dim] > bounds[dim] for dim in LoopDim)
