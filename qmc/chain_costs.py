"""What each operand's way through the memories costs, as numbers that do not depend on tiles.

Under one choice of the memories that keep an operand and one spread over the fan-outs, the energy
that the operand causes is a constant plus, for every pair of neighbouring holders, a factor times
the elements that reach the inner one. Rounding to words and rows is left out, so it is a lower
bound; docs/cost-model.md has the exact rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qmc.cost_models.words import packed_words
from qmc.nest_records import FILL, READ, UPDATE, Floats, Ints, Problem
from qmc.targets.target import MemoryLevel

_O = 2


@dataclass(frozen=True, slots=True)
class Degrees:
    """Spreads over all fan-outs, side by side.

    Attributes:
        shared: (spreads, levels, 3) instances that share an element of an operand.
        copies: (spreads, levels, 3) instances that hold a copy of it.
        instances: (spreads, levels) that work.
    """

    shared: Floats
    copies: Floats
    instances: Floats

    @property
    def parallel(self) -> Floats:
        """(spreads,) multiply-accumulate units that work."""
        working: Floats = self.instances.prod(axis=1)
        return working


@dataclass(frozen=True, slots=True)
class Way:
    """What an operand costs on its way through its holders, for every spread.

    Attributes:
        later: (spreads, levels + 1) constant energy of the exchanges inside a level.
        pays: (spreads, levels) energy per element and multiply-accumulate that reaches the next
            holder inside a level, its run ending in the loops of the level.
        fills: (spreads, levels) energy to fill an element into a memory.
        once: (spreads, levels) what a holder and the next one inside must exchange at least, as
            every element reaches every copy once.
    """

    later: Floats
    pays: Floats
    fills: Floats
    once: Floats

    @property
    def least(self) -> Floats:
        """(spreads,) lower bound of the energy."""
        bound: Floats = self.later[..., 0] + self.once.sum(axis=-1)
        return bound


def stack_ways(ways: Sequence[Way]) -> Way:
    """Several ways as one, the first axis of whose arrays is new."""
    return Way(
        later=np.stack([each.later for each in ways]),
        pays=np.stack([each.pays for each in ways]),
        fills=np.stack([each.fills for each in ways]),
        once=np.stack([each.once for each in ways]),
    )


def unit_energies(
    problem: Problem, memories: tuple[MemoryLevel, ...], degrees: Degrees
) -> tuple[Floats, Floats]:
    """(spreads, levels, 3, 3) pJ of elements by operand and action; (spreads, levels, 3) of psums.

    Instances of a cluster share each row access; the used ones are spread over all clusters.
    """
    count = len(memories)
    clusters = problem["clusters"][:count].astype(np.float64)
    whole = np.array([memory.instances for memory in memories]) / clusters
    used = np.cumprod(np.pad(degrees.instances, ((0, 0), (1, 0)), constant_values=1.0), axis=1)
    scale = whole * np.minimum(1.0, clusters / used[:, :count])
    return (
        problem["element_pj"][:count] * scale[:, :, None, None],
        problem["psum_pj"][:count] * scale[:, :, None],
    )


def port_units(
    problem: Problem, degrees: Degrees, level: int, port: int, packed: Floats
) -> tuple[Floats, Floats]:
    """Cycles that a port of a memory is busy with one element, in the shape of energies.

    Args:
        problem: the layer on the machine.
        degrees: the spreads.
        level: the memory.
        port: 0 read, 1 write (fills and updates).
        packed: (levels, 4) words that an element of W, I, finished O, partial O takes.
    """
    count = int(problem["levels"])
    spreads = len(degrees.instances)
    used = degrees.instances[:, :level].prod(axis=1)
    element, psum = np.zeros((spreads, count, 3, 3)), np.zeros((spreads, count, 3))
    for action in (READ,) if port == 0 else (FILL, UPDATE):
        for operand in range(3):
            words = packed[level, 3] if operand == _O else packed[level, operand]
            if operand == _O:
                words = min(words, packed[level, _O])
            element[:, level, operand, action] = words / problem["bandwidth"][level, port] / used
        psum[:, level, action] = packed[level, 3] / problem["bandwidth"][level, port] / used
    return element, psum


def way(
    problem: Problem,
    holders: Sequence[int],
    operand: int,
    degrees: Degrees,
    energies: tuple[Floats, Floats],
    least_reuse: float,
) -> Way:
    """Cost of an operand whose holders are ``holders``, outermost first.

    Args:
        problem: the layer on the machine; its keep choice does not matter.
        holders: levels, from 0 on.
        operand: which.
        degrees: the spreads.
        energies: of :func:`unit_energies`.
        least_reuse: fewest elements per multiply-accumulate that can reach any holder.
    """
    levels = int(problem["levels"])
    spreads = len(degrees.instances)
    later = np.zeros((spreads, levels + 1))
    pays = np.zeros((spreads, levels))
    fills = np.zeros((spreads, levels))
    once = np.zeros((spreads, levels))
    work = float(np.prod(problem["bounds"].astype(np.float64)))
    for outer, inner in pairwise((*holders, levels)):
        read, fill, constant = _pair(problem, operand, degrees, energies, outer, inner)
        if inner == levels:
            constant = constant + work * read / _product(degrees.shared, operand, outer, inner)
        else:
            fills[:, inner] = fill
            for level in range(outer, inner):
                crossed = _product(degrees.copies, operand, level, inner)
                left = _product(degrees.shared, operand, outer, level)
                pays[:, level] = work * (fill * crossed + read / left)
            copies = fill * _product(degrees.copies, operand, 0, inner)
            reads = read * _product(degrees.copies, operand, 0, outer)
            once[:, outer] = work * least_reuse * (copies + reads)
        later[:, :inner] += constant[:, None]
    return Way(later, pays, fills, once)


def _pair(
    problem: Problem,
    operand: int,
    degrees: Degrees,
    energies: tuple[Floats, Floats],
    outer: int,
    inner: int,
) -> tuple[Floats, Floats, Floats]:
    """Energy per element read outside, per element filled inside, and the constant of a pair."""
    element, psum = energies
    levels = int(problem["levels"])
    if operand != _O:
        fill = element[:, inner, operand, FILL] if inner < levels else np.zeros(len(element))
        return element[:, outer, operand, READ], fill, np.zeros(len(element))
    outputs = float(np.prod(problem["bounds"][problem["relevant"][_O] == 1].astype(np.float64)))
    summed = _product(degrees.shared, _O, 0, outer)
    distinct = outputs * summed
    finished = np.where(summed == 1.0, distinct, 0.0)  # all sums of others stay partial
    constant = -distinct * psum[:, outer, READ]
    constant = constant - finished * (psum[:, outer, UPDATE] - element[:, outer, _O, UPDATE])
    fill = np.zeros(len(element))
    if inner < levels:
        fill = psum[:, inner, FILL]
        if not problem["first_fill_counted"]:
            constant = constant - outputs * _product(degrees.shared, _O, 0, inner) * fill
    return psum[:, outer, READ] + psum[:, outer, UPDATE], fill, constant


def _product(degrees: Floats, operand: int, outer: int, inner: int) -> Floats:
    result: Floats = degrees[:, outer:inner, operand].prod(axis=1)
    return result


def words_of_tiles(memories: tuple[MemoryLevel, ...], volumes: Ints, stored: Ints) -> Ints:
    """(levels, 4, nodes) words that tiles of W, I, finished O and partial O take in each memory."""
    table = np.empty((len(memories), 4, volumes.shape[1]), np.int64)
    for level, memory in enumerate(memories):
        for row, operand in enumerate((0, 1, _O, _O)):
            elements: Any = volumes[operand]  # the rule is the same for arrays
            table[level, row] = packed_words(elements, int(stored[level, row]), memory)
    return table
