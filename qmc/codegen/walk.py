"""Loops as printed: a variable, a trip count and the stride in every array it walks through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from qmc.codegen.nest import NestLoop
from qmc.codegen.writer import Writer, linear


@dataclass(frozen=True, slots=True)
class Walk:
    """One printed loop; ``strides`` by array name.

    ``steps`` is the C expression of its steps, where they can be fewer than its extent; a loop over
    a cut dim ``is_alone``: its variable is needed.
    """

    index: str
    extent: int
    strides: tuple[tuple[str, int], ...]
    steps: str = ""
    is_alone: bool = False

    def stride(self, array: str) -> int:
        """Elements that one iteration advances in ``array``."""
        return dict(self.strides)[array]


def walks(
    loops: Iterable[NestLoop],
    arrays: Mapping[str, Mapping[str, int]],
    outside: Iterable[NestLoop] = (),
) -> tuple[Walk, ...]:
    """Printed form of ``loops``, neighbours merged where all arrays allow it.

    Args:
        loops: outermost first.
        arrays: for each array, the stride by loop variable; a missing variable has stride 0.
        outside: loops around them, whose variables tell where a cut tile ends.
    """
    merged: list[Walk] = []
    before = list(outside)
    for loop in loops:
        strides = tuple((array, table.get(loop.index, 0)) for array, table in arrays.items())
        walk = Walk(loop.index, loop.extent, strides, steps_in_cut(loop, before), loop.bound > 0)
        if merged and _chains(merged[-1], walk):
            walk = Walk(walk.index, merged.pop().extent * walk.extent, walk.strides)
        merged.append(walk)
        before.append(loop)
    return tuple(merged)


def steps_in_cut(loop: NestLoop, before: Iterable[NestLoop]) -> str:
    """C expression of the steps of a loop that may run short; empty where it never does.

    Args:
        loop: the loop.
        before: loops around it.
    """
    own = sorted((x for x in before if x.dim is loop.dim), key=lambda x: -x.step)
    least = loop.bound
    for outer in own:  # the last place at which the loop begins
        least -= outer.step * min(outer.extent - 1, (least - 1) // outer.step)
    if least > loop.step * (loop.extent - 1) or not loop.bound:
        return ""
    left = " - ".join([str(loop.bound), *(linear([(x.index, x.step)]) for x in own)])
    tiles = left if loop.step == 1 else f"({left} + {loop.step - 1}) / {loop.step}"
    return f"qmc_least({loop.extent}, {tiles})"


def _chains(outer: Walk, inner: Walk) -> bool:
    if outer.is_alone or inner.is_alone:
        return False
    return all(outer.stride(array) == stride * inner.extent for array, stride in inner.strides)


def open_walks(writer: Writer, stack: ExitStack, loops: Iterable[Walk]) -> None:
    """Print the heads of ``loops``; ``stack`` closes them."""
    for walk in loops:
        stack.enter_context(writer.loop(walk.index, walk.extent, steps=walk.steps))


def offset(loops: Iterable[Walk], array: str) -> list[tuple[str, int]]:
    """Terms of the position of ``loops`` in ``array``."""
    return [(walk.index, walk.stride(array)) for walk in loops]
