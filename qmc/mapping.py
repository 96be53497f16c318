"""A mapping: every loop of a layer with the memory level and the time or space it runs in."""

from __future__ import annotations

from dataclasses import dataclass

from qmc.layer import LoopDim, Operand


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of a nest.

    Attributes:
        dim: the loop dim it steps through.
        extent: number of steps (perfect factors: the extents of a dim multiply to its bound).
        level: name of the memory whose block of loops it belongs to. A temporal loop of a level
            steps through the tiles that the level hands to the next inner one; a spatial loop
            unrolls over the instances right below the level.
        spatial: None for a loop in time, "x" or "y" for the axis of the array it runs along.
    """

    dim: LoopDim
    extent: int
    level: str
    spatial: str | None = None


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
