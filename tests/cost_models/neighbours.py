"""Inputs passed on between neighbours, step by step: who holds what, and who had it a step before.

Of every loop in time two positions are walked, the second weighted by the steps it stands for, as
in :mod:`tests.cost_models.walker`. Slow and literal.
"""

from __future__ import annotations

from itertools import product
from math import prod

from qmc.cost_models.nest import Nest
from qmc.cost_models.tiles import axis_of, box_sides
from qmc.layer import Operand
from qmc.mapping import Loop

Corner = tuple[int, ...]
Box = tuple[Corner, Corner]  # corner and sides
Direction = tuple[int, bool] | None


def passed_on(nest: Nest, inner: int) -> tuple[int, int]:
    """Elements of I that instances of ``inner`` along y take from neighbours; reads they save."""
    time, space = _distances(nest, inner)
    sides = box_sides(nest.layer, Operand.I, nest.tile(inner))
    places = [_corner(space, at) for at in product(*(range(loop.extent) for loop, _ in space))]
    held: list[Corner | None] = [None] * len(places)
    directions: list[Direction] = [None] * len(places)
    before: list[Box | None] = [None] * len(places)
    passed = saved = 0
    for at in product(*(range(min(2, loop.extent)) for loop, _ in time)):
        weight = prod(loop.extent - 1 for index, (loop, _) in zip(at, time, strict=True) if index)
        now: list[Box | None] = []
        for lane, place in enumerate(places):
            corner = tuple(map(sum, zip(_corner(time, at), place, strict=True)))
            part, directions[lane] = _fetch(corner, held[lane], sides, directions[lane])
            held[lane] = corner
            now.append(part)
        takers = {
            lane for lane in range(len(now)) if now[lane] and _had_it(now[lane], lane, before)
        }
        every = sum(map(_size, set(now)))
        rest = sum(map(_size, {part for lane, part in enumerate(now) if lane not in takers}))
        if rest < every:
            passed += weight * sum(_size(now[lane]) for lane in takers)
            saved += weight * (every - rest)
        before = now
    return passed, saved


_Steps = list[tuple[Loop, Corner]]


def _distances(nest: Nest, inner: int) -> tuple[_Steps, _Steps]:
    """Loops in time, and along y right above ``inner``, outermost first, with what they step by."""
    reach = nest.tile(inner)
    time: _Steps = []
    space: _Steps = []
    for loop in nest.outer_loops(inner):
        found = axis_of(nest.layer, Operand.I, loop.dim)
        step = [0] * 5
        if found is not None:
            step[found[0]] = found[1] * reach[loop.dim]
        if loop.spatial is None:
            time.insert(0, (loop, tuple(step)))
        elif loop in nest.spatial[inner - 1]:
            space.insert(0, (loop, tuple(step)))
        reach[loop.dim] *= loop.extent
    return time, space


def _corner(steps: _Steps, at: tuple[int, ...]) -> Corner:
    distances = [[index * d for d in step] for index, (_, step) in zip(at, steps, strict=True)]
    return tuple(map(sum, zip(*distances, strict=True))) if distances else (0,) * 5


def _fetch(
    corner: Corner, old: Corner | None, sides: Corner, direction: Direction
) -> tuple[Box | None, Direction]:
    """The part of a box that is new, and which way it slid."""
    moves = [(a, n - o) for a, (n, o) in enumerate(zip(corner, old or (), strict=False)) if n != o]
    if old is not None and not moves:
        return None, None
    if len(moves) != 1 or abs(moves[0][1]) >= sides[moves[0][0]]:
        return (corner, sides), None
    axis, distance = moves[0]
    slides = axis, distance > 0
    if direction not in (None, slides):
        return (corner, sides), None
    low, part = list(corner), list(sides)
    part[axis] = abs(distance)
    low[axis] += max(0, sides[axis] - distance) if distance > 0 else 0
    return (tuple(low), tuple(part)), slides


def _had_it(part: Box | None, lane: int, before: list[Box | None]) -> bool:
    return any(0 <= n < len(before) and before[n] == part for n in (lane - 1, lane + 1))


def _size(part: Box | None) -> int:
    return 0 if part is None else prod(part[1])
