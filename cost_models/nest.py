"""A mapping laid out on a machine: loops by level, tile extents, and the checks of legality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from qmc.errors import MappingError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Loop, Mapping, covers
from qmc.targets.target import MemoryLevel, Target

#: Index of the MACs is ``len(target.memories)``: they are the innermost "level" of a nest.
Extents = dict[LoopDim, int]


@dataclass(frozen=True, slots=True)
class Nest:
    """A legal mapping on a machine.

    Attributes:
        layer: the layer.
        target: the machine.
        temporal: loops in time of each level, outermost first, extents above 1 only.
        spatial: loops in space below each level, extents above 1 only.
        keeps: operands each level keeps.
    """

    layer: Layer
    target: Target
    temporal: tuple[tuple[Loop, ...], ...]
    spatial: tuple[tuple[Loop, ...], ...]
    keeps: tuple[frozenset[Operand], ...]

    @property
    def mac_index(self) -> int:
        """Index of the MACs, one past the innermost memory."""
        return len(self.target.memories)

    @property
    def is_cut(self) -> bool:
        """Whether the extents of a dim multiply to more than its bound: its last tile is short."""
        whole = extents(loop for level in (*self.temporal, *self.spatial) for loop in level)
        return any(whole[dim] > self.layer.bounds[dim] for dim in LoopDim)

    def tile(self, index: int) -> Extents:
        """Extents of the tile one instance of level ``index`` holds; all 1 for the MACs."""
        full = extents(
            loop
            for level in range(index, self.mac_index)
            for loop in (*self.temporal[level], *self.spatial[level])
        )
        return {dim: min(extent, self.layer.bounds[dim]) for dim, extent in full.items()}

    def outer_loops(self, index: int) -> tuple[Loop, ...]:
        """All loops outside level ``index``, in time and in space, innermost first."""
        outermost_first = [
            loop for level in range(index) for loop in (*self.temporal[level], *self.spatial[level])
        ]
        return tuple(reversed(outermost_first))

    def spatial_between(self, outer: int, inner: int) -> tuple[Loop, ...]:
        """Loops in space below level ``outer`` and above one instance of level ``inner``."""
        return tuple(loop for level in range(outer, inner) for loop in self.spatial[level])

    def used_instances(self, index: int) -> int:
        """Instances of level ``index`` that work."""
        return product(self.spatial_between(0, index))

    def holders(self, operand: Operand) -> tuple[int, ...]:
        """Levels that keep ``operand``, outermost first, and the MACs."""
        kept = [index for index, keep in enumerate(self.keeps) if operand in keep]
        return (*kept, self.mac_index)


def product(loops: Iterable[Loop]) -> int:
    """Product of the extents."""
    result = 1
    for loop in loops:
        result *= loop.extent
    return result


def extents(loops: Iterable[Loop]) -> Extents:
    """Extent of every dim over ``loops``; 1 where none steps through it."""
    result = dict.fromkeys(LoopDim, 1)
    for loop in loops:
        result[loop.dim] *= loop.extent
    return result


def build_nest(layer: Layer, target: Target, mapping: Mapping) -> Nest:
    """Lay ``mapping`` out on ``target``.

    The dataflow constraints of a target (keep lists, fixed factors, orders) bound the *map space*,
    which the search enumerates; any mapping the hardware could run is priced, so that one written
    by hand can be compared.

    Raises:
        MappingError: an unknown or repeated level, extents that do not multiply to the bounds, a
            fan-out exceeded, or an outermost memory that does not keep everything.
    """
    index = {level.name: position for position, level in enumerate(target.memories)}
    temporal: list[list[Loop]] = [[] for _ in target.memories]
    spatial: list[list[Loop]] = [[] for _ in target.memories]
    for loop in mapping.loops:
        _check_loop(layer, target, loop)
        if loop.extent > 1:
            block = temporal if loop.spatial is None else spatial
            block[index[loop.level]].append(loop)
    for level, loops in zip(target.memories, spatial, strict=True):
        _check_fanout(layer, level, loops)
    loops = [
        loop for level in zip(temporal, spatial, strict=True) for block in level for loop in block
    ]
    check_extents(layer, loops)
    return Nest(
        layer,
        target,
        tuple(map(tuple, temporal)),
        tuple(map(tuple, spatial)),
        _keeps(layer, target, mapping),
    )


def _check_loop(layer: Layer, target: Target, loop: Loop) -> None:
    names = [level.name for level in target.memories]
    if loop.level not in names:
        allowed = ", ".join(names)
        raise MappingError(layer.name, loop.level, f"no such level; allowed: {allowed}")
    if loop.spatial not in (None, "x", "y"):
        raise MappingError(layer.name, loop.level, f"axis '{loop.spatial}'; allowed: x, y")
    if loop.extent < 1:
        raise MappingError(layer.name, loop.level, f"loop {loop.dim} has extent {loop.extent}")


def check_extents(layer: Layer, loops: Sequence[Loop]) -> None:
    """Check that the loops of every dim cover its bound, and that no step of one is idle.

    Loops divide their dim, or leave its last tile short: then the outermost takes a step for every
    tile that the loops inside it begin.

    Args:
        layer: the layer.
        loops: outermost first, of extents above 1.

    Raises:
        MappingError: the loops of a dim cover less than its bound, or steps lie beyond it.
    """
    for dim in LoopDim:
        own = [loop.extent for loop in loops if loop.dim is dim] or [1]
        whole, inside, bound = prod(own), prod(own[1:]), layer.bounds[dim]
        if covers(own, bound):
            continue
        reason = f"the extents of {dim} multiply to {whole}; its bound is {bound}"
        if bound > inside and whole > bound:
            reason += f", which takes {-(-bound // inside)} steps of {inside}"
        raise MappingError(layer.name, "all levels", reason)


def _check_fanout(layer: Layer, level: MemoryLevel, loops: list[Loop]) -> None:
    for axis, available in (("x", level.fanout_x), ("y", level.fanout_y)):
        used = product(loop for loop in loops if loop.spatial == axis)
        if used > available:
            raise MappingError(
                layer.name,
                level.name,
                f"{used} instances along {axis}; the fan-out is {available}",
            )


def _keeps(layer: Layer, target: Target, mapping: Mapping) -> tuple[frozenset[Operand], ...]:
    kept = {entry.level: entry.operands for entry in mapping.keep}
    names = [level.name for level in target.memories]
    for name in kept:
        if name not in names:
            raise MappingError(layer.name, name, f"no such level; allowed: {', '.join(names)}")
    if len(kept) != len(mapping.keep):
        raise MappingError(layer.name, "keep", "a level is listed twice")
    outermost = kept.get(names[0], frozenset())
    if outermost != frozenset(Operand):
        found = ", ".join(sorted(outermost)) or "nothing"
        raise MappingError(layer.name, names[0], f"keeps {found}; it must keep W, I and O")
    return tuple(kept.get(name, frozenset()) for name in names)
