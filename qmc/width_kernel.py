"""Pricing of a nest at many widths at once. Compiled.

What a mapping moves, in elements, does not depend on widths; only the words that elements take do,
operand by operand. So a level of the nest is counted once and charged for every *class* of widths
of every operand (widths that all memories pack alike are one class). The cost at a triple of widths
is the sum of three entries. Same rules as :mod:`qmc.nest_kernel`.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any

import numpy as np

from qmc.jit import compiled
from qmc.nest_bounds import (
    Choices,
    filled_elements,
    finished_serving,
    passing_elements,
    passing_finished,
    serving_elements,
)
from qmc.nest_kernel import (
    FILL,
    MAX_LEVELS,
    READ,
    UPDATE,
    Nest,
    O,
    Problem,
    distinct_receivers,
    moved_elements,
    output_counts,
    shrink_tile,
    tile_elements,
)
from qmc.nest_wires import network_energy

#: Most classes of widths of an operand.
MAX_CLASSES = 16
PARTIAL = 3  # partial sums, beside the operands
TIMES, OF, BY = range(3)  # words = times * ceil(elements * of / by)

#: How widths are charged. Fields:
#: classes: of W, I and O. bits: a width of every class, and of its partial sums.
#: packing: TIMES, OF, BY of every memory, operand (and PARTIAL) and class.
#: together: whether a memory stores finished and partial sums alike and rounds them up together.
#: element_pj: energy of one access of one element by memory, operand, action and class.
#: chain_pj: energy to pass an element from a memory to the innermost one that keeps the operand; of
#: O, to pass a finished one from there out to the memory.
WIDTHS = np.dtype(
    [
        ("classes", np.int64, (3,)),
        ("bits", np.int64, (4, MAX_CLASSES)),
        ("packing", np.float64, (MAX_LEVELS, 4, 3, MAX_CLASSES)),
        ("together", np.int8, (MAX_LEVELS, MAX_CLASSES)),
        ("element_pj", np.float64, (MAX_LEVELS, 4, 3, MAX_CLASSES)),
        ("chain_pj", np.float64, (MAX_LEVELS, 3, MAX_CLASSES)),
    ],
    align=True,
)

#: Prices of a nest under construction, by operand and class. Fields:
#: energy: of the memories whose inner traffic is known, by level, pJ. pending: at least what the
#: others will need. total: scratch space, the sum of both. held: words of the tile in a memory.
#: moved: words that it reads and writes.
PRICES = np.dtype(
    [
        ("energy", np.float64, (MAX_LEVELS + 1, 3, MAX_CLASSES)),
        ("pending", np.float64, (3, MAX_CLASSES)),
        ("total", np.float64, (3, MAX_CLASSES)),
        ("held", np.float64, (MAX_LEVELS, 3, MAX_CLASSES)),
        ("moved", np.float64, (MAX_LEVELS, 2, 3, MAX_CLASSES)),
    ],
    align=True,
)

#: One element of a structured array.
Widths = Any
Prices = Any


@compiled
def words_of(widths: Widths, level: int, kind: int, c: int, elements: float) -> float:
    """Words of a memory that ``elements`` take; exact below 2**53."""
    packing = widths.packing[level, kind]
    return packing[TIMES, c] * np.ceil(elements * packing[OF, c] / packing[BY, c])


@compiled
def price_level(problem: Problem, widths: Widths, nest: Nest, prices: Prices, level: int) -> None:
    """Price what the loops of ``level`` decide, at every class of widths.

    All blocks of ``level`` must be filled and its loops pushed.
    """
    inner = level + 1
    shrink_tile(problem, nest, level)
    for operand in range(3):
        for c in range(widths.classes[operand]):
            prices.energy[inner, operand, c] = prices.energy[level, operand, c]
        outer = problem.parent[inner, operand]
        if outer >= 0:
            if inner == problem.levels:
                nest.served[inner, operand] = nest.steps[inner]
            else:
                nest.served[inner, operand] = moved_elements(problem, nest, operand, inner)
                hold(problem, widths, nest, prices, operand, inner)
            _serve(problem, widths, nest, prices, operand, outer, inner)


@compiled
def hold(
    problem: Problem, widths: Widths, nest: Nest, prices: Prices, operand: int, level: int
) -> None:
    """Words of a tile that came to lie in ``level``; of O the fewer of partial and finished."""
    tile = float(tile_elements(problem, operand, nest.tile[level]))
    for c in range(widths.classes[operand]):
        words = words_of(widths, level, operand, c, tile)
        if operand == O:
            words = min(words, words_of(widths, level, PARTIAL, c, tile))
        prices.held[level, operand, c] = words


@compiled
def _serve(
    problem: Problem,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    operand: int,
    outer: int,
    inner: int,
) -> None:
    """Charge ``outer`` for all its accesses of ``operand``, now that its inner holder is known."""
    served = nest.served[inner, operand] * distinct_receivers(problem, nest, operand, outer, inner)
    arriving = nest.served[outer, operand]
    if problem.networks > 0:
        for c in range(widths.classes[operand]):
            bits, partial = widths.bits[operand, c], widths.bits[PARTIAL, c]
            pj = network_energy(problem, nest, operand, outer, inner, bits, partial)
            prices.energy[inner, operand, c] += pj
    if operand == O:
        _charge_outputs(problem, widths, nest, prices, outer, inner, served, arriving)
        return
    count = float(min(nest.instances[outer], problem.clusters[outer]))
    row = float(problem.row_words[outer])
    for c in range(widths.classes[operand]):
        reads = words_of(widths, outer, operand, c, float(served))
        fills = words_of(widths, outer, operand, c, float(arriving))
        prices.moved[outer, 0, operand, c] = reads
        prices.moved[outer, 1, operand, c] = fills
        rows = np.ceil(reads / row) * problem.access_pj[outer, READ]
        rows += np.ceil(fills / row) * problem.access_pj[outer, FILL]
        prices.energy[inner, operand, c] += rows * count


@compiled
def _charge_outputs(
    problem: Problem,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    outer: int,
    inner: int,
    updates: int,
    written_back: int,
) -> None:
    """The same for O, whose partial and finished sums have widths of their own."""
    tile = tile_elements(problem, O, nest.tile[outer])
    reread, fills, final, partial = output_counts(problem, nest, outer, updates, written_back)
    count = float(min(nest.instances[outer], problem.clusters[outer]))
    row = float(problem.row_words[outer])
    for c in range(widths.classes[O]):
        if widths.together[outer, c]:
            update_words = words_of(widths, outer, O, c, float(updates))
        else:
            update_words = words_of(widths, outer, PARTIAL, c, float(updates - final))
            update_words += words_of(widths, outer, O, c, float(final))
        read_words = words_of(widths, outer, PARTIAL, c, float(reread))
        fill_words = words_of(widths, outer, PARTIAL, c, float(fills))
        prices.held[outer, O, c] = words_of(
            widths, outer, PARTIAL if partial else O, c, float(tile)
        )
        prices.moved[outer, 0, O, c] = read_words
        prices.moved[outer, 1, O, c] = fill_words + update_words
        rows = np.ceil(read_words / row) * problem.access_pj[outer, READ]
        rows += np.ceil(fill_words / row) * problem.access_pj[outer, FILL]
        rows += np.ceil(update_words / row) * problem.access_pj[outer, UPDATE]
        prices.energy[inner, O, c] += rows * count


@compiled
def bound_level(
    problem: Problem, choices: Choices, widths: Widths, nest: Nest, prices: Prices, level: int
) -> None:
    """Set ``pending``, as :func:`qmc.nest_bounds.pending_energy` has it, for every class."""
    for operand in range(3):
        outer = problem.holder[level, operand]
        innermost = problem.holder[problem.levels - 1, operand]
        filled = filled_elements(problem, nest, operand, outer)
        passing = 0.0
        if outer != innermost:
            passing = passing_elements(problem, nest, operand, outer, level)
        serving = serving_elements(problem, choices, nest, operand, innermost, level)
        if operand == O:
            last = passing_finished(problem, nest, outer, passing)
            done = finished_serving(problem, choices, nest, level, serving)
            _bound_outputs(
                widths, prices, outer, innermost, filled, last, passing - last, done, serving - done
            )
            continue
        for c in range(widths.classes[operand]):
            prices.pending[operand, c] = (
                filled * widths.element_pj[outer, operand, FILL, c]
                + passing * widths.chain_pj[outer, operand, c]
                + serving * widths.element_pj[innermost, operand, READ, c]
            )


@compiled
def _bound_outputs(
    widths: Widths,
    prices: Prices,
    outer: int,
    innermost: int,
    filled: float,
    last: float,
    again: float,
    last_served: float,
    again_served: float,
) -> None:
    """The same for O: updates that are the last of their element, and those read again."""
    for c in range(widths.classes[O]):
        pj = filled * widths.element_pj[outer, PARTIAL, FILL, c]
        for memory, count in ((outer, again), (innermost, again_served)):
            both = widths.element_pj[memory, PARTIAL, READ, c]
            both += widths.element_pj[memory, PARTIAL, UPDATE, c]
            pj += count * both
        pj += last * widths.chain_pj[outer, O, c]
        prices.pending[O, c] = pj + last_served * widths.element_pj[innermost, O, UPDATE, c]
