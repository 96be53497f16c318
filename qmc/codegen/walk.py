"""Loops as printed: a variable, a trip count and the stride in every array it walks through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from qmc.codegen.nest import NestLoop
from qmc.codegen.writer import Writer


@dataclass(frozen=True, slots=True)
class Walk:
    """One printed loop; ``strides`` by array name."""

    index: str
    extent: int
    strides: tuple[tuple[str, int], ...]

    def stride(self, array: str) -> int:
        """Elements that one iteration advances in ``array``."""
        return dict(self.strides)[array]


def walks(loops: Iterable[NestLoop], arrays: Mapping[str, Mapping[str, int]]) -> tuple[Walk, ...]:
    """Printed form of ``loops``, neighbours merged where all arrays allow it.

    Args:
        loops: outermost first.
        arrays: for each array, the stride by loop variable; a missing variable has stride 0.
    """
    merged: list[Walk] = []
    for loop in loops:
        strides = tuple((array, table.get(loop.index, 0)) for array, table in arrays.items())
        walk = Walk(loop.index, loop.extent, strides)
        if merged and _chains(merged[-1], walk):
            walk = Walk(walk.index, merged.pop().extent * walk.extent, walk.strides)
        merged.append(walk)
    return tuple(merged)


def _chains(outer: Walk, inner: Walk) -> bool:
    return all(outer.stride(array) == stride * inner.extent for array, stride in inner.strides)


def open_walks(writer: Writer, stack: ExitStack, loops: Iterable[Walk]) -> None:
    """Print the heads of ``loops``; ``stack`` closes them."""
    for walk in loops:
        stack.enter_context(writer.loop(walk.index, walk.extent))


def offset(loops: Iterable[Walk], array: str) -> list[tuple[str, int]]:
    """Terms of the position of ``loops`` in ``array``."""
    return [(walk.index, walk.stride(array)) for walk in loops]
