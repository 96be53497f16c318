"""From classes of widths to the flat arrays of the search at many widths."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmc.layer import Operand
from qmc.nest_kernel import FILL, READ, UPDATE, Problem
from qmc.targets.target import MemoryLevel, Target
from qmc.width_classes import WidthClasses, packing_factors
from qmc.width_kernel import MAX_CLASSES, PARTIAL, PRICES, WIDTHS, Prices, Widths
from qmc.width_walk import Triples

_OPERANDS = tuple(Operand)
_OUTPUT = _OPERANDS.index(Operand.O)
#: The operand of every kind of element; partial sums are outputs.
_KINDS = (*_OPERANDS, Operand.O)


def build_widths(problem: Problem, target: Target, classes: WidthClasses) -> Widths:
    """How the classes are charged; ``problem`` says what the memories keep."""
    widths = np.zeros(1, WIDTHS)[0]
    widths["packing"] = 1
    widths["classes"] = [len(bits) for bits in classes.bits]
    for x, own in enumerate(classes.bits):
        widths["bits"][x, : len(own)] = own
    partial = [classes.partial_bits(bits) for bits in classes.bits[_OUTPUT]]
    widths["bits"][PARTIAL, : len(partial)] = partial
    for level, memory in enumerate(target.memories):
        for kind in range(len(_KINDS)):
            for c in range(len(classes.bits[min(kind, _OUTPUT)])):
                _set_packing(widths, problem, level, memory, classes, kind, c)
        for c, bits in enumerate(classes.bits[_OUTPUT]):
            both = {memory.stored_bits(Operand.O, b) for b in (bits, classes.partial_bits(bits))}
            widths["together"][level, c] = len(both) == 1
    _set_chains(widths, problem)
    return widths


def _set_packing(
    widths: Widths,
    problem: Problem,
    level: int,
    memory: MemoryLevel,
    classes: WidthClasses,
    kind: int,
    c: int,
) -> None:
    """Packing and energy per element of one kind of element in one memory."""
    per_word = problem["access_pj"][level] / memory.row_words
    per_word = per_word * int(problem["clusters"][level]) / memory.instances
    bits = classes.bits[min(kind, _OUTPUT)][c]
    stored = memory.stored_bits(_KINDS[kind], bits)
    partial = memory.stored_bits(_KINDS[kind], classes.partial_bits(bits))
    if kind == PARTIAL:
        stored = partial
    widths["packing"][level, kind, :, c] = packing_factors(memory, stored)
    least = min(stored, partial) if kind == _OUTPUT else stored
    times, of, by = packing_factors(memory, least)
    widths["element_pj"][level, kind, :, c] = per_word * (times * of / by)


def _set_chains(widths: Widths, problem: Problem) -> None:
    levels, pj = int(problem["levels"]), widths["element_pj"]
    for x in range(len(_OPERANDS)):
        holders = [level for level in range(levels) if problem["holder"][level, x] == level]
        for outer in holders:
            inside = [level for level in holders if level >= outer]
            total = np.zeros(MAX_CLASSES)
            for level in inside[:-1]:
                total += pj[level, x, UPDATE if x == _OUTPUT else READ]
            for level in inside[1:] if x != _OUTPUT else ():
                total += pj[level, x, FILL]
            widths["chain_pj"][outer, x] = total


def new_prices() -> Prices:
    """Nothing priced yet."""
    return np.zeros(1, PRICES)[0]


def new_triples(problem: Problem, classes: WidthClasses, macs: int) -> Triples:
    """No mapping known yet."""
    levels, count = int(problem["levels"]), len(classes.problems)
    return Triples(
        classes=np.array([p.classes for p in classes.problems], np.int64),
        mac_pj=np.array([p.mac_pj * macs for p in classes.problems]),
        mac_cycles=np.array([p.mac_cycles for p in classes.problems], np.float64),
        alive=np.zeros((levels + 1, count), np.int64),
        alive_count=np.zeros(levels + 1, np.int64),
        best=np.full((count, 2), np.inf),
        best_factors=np.ones((count, levels, 3, 8), np.int64),
        best_orders=np.tile(np.arange(8), (count, levels, 1)),
        known=known_memories(problem),
        limited=np.argwhere(np.isfinite(problem["bandwidth"][:levels])),
    )


def known_memories(problem: Problem) -> np.ndarray[Any, np.dtype[np.int8]]:
    """``Triples.known``: a memory is priced once its next inner holder is known."""
    levels = int(problem["levels"])
    known = np.zeros((levels + 1, levels, 3), np.int8)
    for inner in range(1, levels + 1):
        known[inner] = known[inner - 1]
        for x in range(3):
            outer = int(problem["parent"][inner, x])
            if outer >= 0:
                known[inner, outer, x] = 1
    return known
