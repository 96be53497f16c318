"""The loop nest of a layer as the C printer needs it: every loop with its step in its dim."""

from __future__ import annotations

from dataclasses import dataclass

from qmc.errors import CodegenError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping

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
    """

    dim: LoopDim
    extent: int
    level: str
    spatial: str | None
    step: int
    index: str


@dataclass(frozen=True, slots=True)
class Nest:
    """Temporal loops, outermost first, and spatial ones, in the mapping's order."""

    temporal: tuple[NestLoop, ...]
    spatial: tuple[NestLoop, ...]

    @property
    def loops(self) -> tuple[NestLoop, ...]:
        """All loops, temporal ones outside."""
        return self.temporal + self.spatial


def make_nest(layer: Layer, mapping: Mapping) -> Nest:
    """Check that ``mapping`` covers ``layer`` exactly and give each loop its step.

    Raises:
        CodegenError: the extents of a dim do not multiply to its bound.
    """
    steps = dict.fromkeys(LoopDim, 1)
    used = dict.fromkeys(LoopDim, 0)
    loops: list[NestLoop] = []
    for loop in reversed([loop for loop in mapping.loops if loop.extent > 1]):
        index = f"{loop.dim.lower()}{used[loop.dim]}"
        loops.append(
            NestLoop(loop.dim, loop.extent, loop.level, loop.spatial, steps[loop.dim], index)
        )
        steps[loop.dim] *= loop.extent
        used[loop.dim] += 1
    for dim in LoopDim:
        if steps[dim] != layer.bounds[dim]:
            raise CodegenError(
                layer.name,
                f"loops of {dim} multiply to {steps[dim]}; the layer has {dim}={layer.bounds[dim]}",
            )
    loops.reverse()
    return Nest(
        tuple(loop for loop in loops if loop.spatial is None),
        tuple(loop for loop in loops if loop.spatial is not None),
    )


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
