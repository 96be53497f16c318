"""The loop nest of a layer as the C printer needs it: every loop with its step in its dim."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from qmc.errors import CodegenError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping, covers

#: Level name of a nest that no target chose.
NATURAL = "natural"
_MOST_SPATIAL = 8


@dataclass(frozen=True, slots=True)
class NestLoop:
    """One loop.

    Attributes:
        dim, extent, level: as in the mapping.
        spatial: "x", "y" or None.
        step: what one iteration adds to the dim's index: the product of the extents of all loops of
            the same dim further inside (spatial or not).
        index: name of the C variable.
        bound: of the dim, where the last tile is cut short; 0 where the loops divide it.
    """

    dim: LoopDim
    extent: int
    level: str
    spatial: str | None
    step: int
    index: str
    bound: int = 0


@dataclass(frozen=True, slots=True)
class Nest:
    """Temporal loops, outermost first, and spatial ones, in the mapping's order."""

    temporal: tuple[NestLoop, ...]
    spatial: tuple[NestLoop, ...]

    @property
    def loops(self) -> tuple[NestLoop, ...]:
        """All loops, temporal ones outside."""
        return self.temporal + self.spatial

    @property
    def is_cut(self) -> bool:
        """Whether the last tile of some dim is short."""
        return any(loop.bound for loop in self.loops)


def make_nest(layer: Layer, mapping: Mapping) -> Nest:
    """Check that ``mapping`` covers ``layer`` exactly and give each loop its step.

    Raises:
        CodegenError: the extents of a dim do not cover its bound, or have idle steps.
    """
    steps = dict.fromkeys(LoopDim, 1)
    used = dict.fromkeys(LoopDim, 0)
    cut = _cut_bounds(layer, mapping)
    loops: list[NestLoop] = []
    for loop in reversed([loop for loop in mapping.loops if loop.extent > 1]):
        index = f"{loop.dim.lower()}{used[loop.dim]}"
        step, bound = steps[loop.dim], cut[loop.dim]
        loops.append(NestLoop(loop.dim, loop.extent, loop.level, loop.spatial, step, index, bound))
        steps[loop.dim] *= loop.extent
        used[loop.dim] += 1
    loops.reverse()
    return Nest(
        tuple(loop for loop in loops if loop.spatial is None),
        tuple(loop for loop in loops if loop.spatial is not None),
    )


def _cut_bounds(layer: Layer, mapping: Mapping) -> dict[LoopDim, int]:
    """Bounds of the dims that the loops do not divide; 0 of the others."""
    cut = dict.fromkeys(LoopDim, 0)
    for dim in LoopDim:
        extents = [x.extent for x in mapping.loops if x.dim is dim and x.extent > 1] or [1]
        whole, bound = prod(extents), layer.bounds[dim]
        if not covers(extents, bound):
            reason = f"loops of {dim} multiply to {whole}; the layer has {dim}={bound}"
            raise CodegenError(layer.name, reason)
        cut[dim] = bound if whole > bound else 0
    return cut


def natural_mapping(layer: Layer) -> Mapping:
    """A nest for a layer that no mapper has seen: output pixel by pixel, channels side by side."""
    bounds = layer.bounds
    lanes = largest_divisor(bounds.C, _MOST_SPATIAL)
    groups_wide = layer.is_depthwise
    extents = [
        (LoopDim.N, bounds.N, None),
        (LoopDim.G, 1 if groups_wide else bounds.G, None),
        (LoopDim.P, bounds.P, None),
        (LoopDim.Q, bounds.Q, None),
        (LoopDim.C, bounds.C // lanes, None),
        (LoopDim.R, bounds.R, None),
        (LoopDim.S, bounds.S, None),
        (LoopDim.G, bounds.G if groups_wide else 1, "x"),
        (LoopDim.K, bounds.K, "x"),
        (LoopDim.C, lanes, "y"),
    ]
    loops = tuple(Loop(dim, extent, NATURAL, axis) for dim, extent, axis in extents if extent > 1)
    return Mapping(loops, (Keep(NATURAL, frozenset(Operand)),))


def largest_divisor(number: int, limit: int) -> int:
    """Largest divisor of ``number`` that is not above ``limit``."""
    return next(d for d in range(min(number, limit), 0, -1) if number % d == 0)
