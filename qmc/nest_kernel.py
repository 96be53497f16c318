"""The analytical model on flat arrays, compiled: one mapping in a fraction of a microsecond.

Same rules as :mod:`qmc.cost_models.analytical`, which stays the reference; here a *problem* is a
structured array and a mapping is built level by level from the outside, so that a search can
price the outer part of a nest once for all inner parts.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.cost_models.ports import ROUNDING
from qmc.jit import compiled
from qmc.nest_geometry import (
    distinct_along,
    distinct_receivers,
    distinct_sums,
    moved_elements,
    reduced_in_space,
    tile_elements,
    window_height,
    window_width,
)
from qmc.nest_records import (
    DENSE,
    DIM,
    EXTENT,
    FILL,
    MAX_LEVELS,
    NEST,
    OUTSIDE,
    PLANES,
    PROBLEM,
    REACH,
    READ,
    SINGLE,
    UPDATE,
    WORDS,
    C,
    Floats,
    G,
    I,
    Ints,
    K,
    N,
    Nest,
    O,
    P,
    Problem,
    Q,
    R,
    S,
    W,
    empty_nest,
)
from qmc.nest_wires import network_energy

#: What the other compiled modules take from here, whichever file it is in.
__all__ = [
    "BELOW",
    "DENSE",
    "FILL",
    "MAX_LEVELS",
    "NEST",
    "PLANES",
    "PROBLEM",
    "READ",
    "SINGLE",
    "UPDATE",
    "WORDS",
    "C",
    "Floats",
    "G",
    "I",
    "Ints",
    "K",
    "N",
    "Nest",
    "O",
    "P",
    "Problem",
    "Q",
    "R",
    "S",
    "W",
    "ceil_div",
    "close_level",
    "distinct_along",
    "distinct_receivers",
    "distinct_sums",
    "empty_nest",
    "moved_elements",
    "output_counts",
    "packed_words",
    "port_cycles",
    "price",
    "price_all",
    "push_loops",
    "shrink_tile",
    "tile_elements",
    "total_cost",
    "window_height",
    "window_width",
]


#: What a reciprocal is too small by, relative (:func:`ceil_quotient`), and numbers small enough.
BELOW = 2.0**-50
_EXACT = 1 << 48


@compiled
def ceil_div(numerator: int, denominator: int) -> int:
    """Quotient rounded up."""
    return (numerator + denominator - 1) // denominator


@compiled
def packed_words(problem: Problem, level: int, elements: int, bits: int) -> int:
    """Words of a memory that ``elements`` take; see :mod:`qmc.cost_models.words`."""
    word = problem.word_bits[level]
    packing = problem.packing[level]
    if packing == DENSE:
        return ceil_div(elements * bits, word)
    if packing == PLANES:
        return bits * ceil_div(elements, word)
    if packing == SINGLE or bits > word:
        return elements * ceil_div(bits, word)
    return ceil_div(elements, word // bits)


@compiled
def ceil_quotient(number: float, divisor: int, reciprocal: float) -> float:
    """A whole number over another, rounded up, by a reciprocal too small by :data:`BELOW`.

    Of a number below 1 / (4 * BELOW) the product is too small by less than 1 / divisor, and never
    too large: it rounds up to the same whole number as the quotient, without a division.
    """
    if number < _EXACT:
        return np.ceil(number * reciprocal)
    return float(ceil_div(int(number), divisor))


@compiled
def _stored_words(problem: Problem, level: int, elements: int, kind: int) -> float:
    """Words that ``elements`` of W, I, a finished O or a partial sum (0 to 3) take."""
    units = float(elements * problem.pack[level, kind, 2])
    packs = ceil_quotient(units, problem.pack[level, kind, 0], problem.per_pack[level, kind])
    return packs * problem.pack[level, kind, 1]


@compiled
def _row_energy(problem: Problem, level: int, words: float, action: int) -> float:
    """Energy of the row accesses that move ``words``."""
    rows = ceil_quotient(words, problem.row_words[level], problem.per_row[level])
    return rows * problem.access_pj[level, action]


@compiled
def push_loops(nest: Nest, level: int, order: Ints) -> None:
    """Append the loops in time of ``level``; ``order`` lists all dims, innermost first."""
    first = last = nest.loop_count[level]
    for position in range(7, -1, -1):
        dim = order[position]
        extent = nest.factors[level, 0, dim]
        nest.loops[last, DIM] = dim  # overwritten by the next one if this is no loop
        nest.loops[last, EXTENT] = extent
        last += extent > 1
    steps = nest.steps[level]
    summed = nest.summed[level, 0]
    for row in range(first, last):
        dim, extent = nest.loops[row, DIM], nest.loops[row, EXTENT]
        reach = int(nest.tile[level, dim] / extent)
        nest.loops[row, REACH] = reach
        nest.loops[row, OUTSIDE] = steps
        steps *= extent
        summed |= dim == C or dim == R or dim == S
    nest.loop_count[level + 1] = last
    nest.steps[level + 1] = steps
    nest.summed[level + 1, 0] = summed


@compiled
def shrink_tile(problem: Problem, nest: Nest, level: int) -> None:
    """Extents of the tile inside the loops of ``level``, and instances that they use."""
    inner = level + 1
    nest.instances[inner] = nest.instances[level]
    nest.outputs[inner] = nest.outputs[level]
    nest.summed[inner, 1] = nest.summed[level, 1]
    if problem.fan_out[level, 0] * problem.fan_out[level, 1] == 1:
        for dim in range(8):
            nest.tile[inner, dim] = int(nest.tile[level, dim] / nest.factors[level, 0, dim])
        return
    used, outputs = 1, 1
    for dim in range(8):
        taken = nest.factors[level, 1, dim] * nest.factors[level, 2, dim]
        extent = nest.factors[level, 0, dim] * taken
        nest.tile[inner, dim] = int(nest.tile[level, dim] / extent)
        used *= taken
        outputs *= taken if problem.relevant[O, dim] else 1
    nest.instances[inner] *= used
    nest.outputs[inner] = int(nest.outputs[inner] / outputs)
    nest.summed[inner, 1] |= used > outputs


@compiled
def _count_receivers(problem: Problem, nest: Nest, level: int) -> None:
    """Instances right below ``level`` that need different data at once, by operand."""
    for operand in range(3):
        nest.spread[level, operand] = 1
    if nest.instances[level + 1] > nest.instances[level]:
        for operand in range(3):
            for axis in range(1, 3):
                along = distinct_along(problem, nest, operand, level, axis)
                nest.spread[level, operand] *= along


@compiled
def close_level(problem: Problem, nest: Nest, level: int) -> bool:
    """Price what the loops of ``level`` decide; False when a memory's tiles do not fit it.

    All blocks of ``level`` must be filled and its loops pushed.
    """
    inner = level + 1
    shrink_tile(problem, nest, level)
    _count_receivers(problem, nest, level)
    nest.energy[inner] = nest.energy[level]
    for memory in range(inner):
        nest.port_words[inner, memory, 0] = nest.port_words[level, memory, 0]
        nest.port_words[inner, memory, 1] = nest.port_words[level, memory, 1]
        nest.held_words[inner, memory] = nest.held_words[level, memory]
    for operand in range(3):
        outer = problem.parent[inner, operand]
        if outer >= 0:
            if inner == problem.levels:
                nest.served[inner, operand] = nest.steps[inner]
            else:
                nest.served[inner, operand] = moved_elements(problem, nest, operand, inner)
            _serve(problem, nest, operand, outer, inner)
            held, depth = nest.held_words[inner, outer], problem.depth[outer]
            if depth > 0 and held > depth:
                return False
    return True


@compiled
def _serve(problem: Problem, nest: Nest, operand: int, outer: int, inner: int) -> None:
    """Charge ``outer`` for all its accesses of ``operand``, now that its inner holder is known."""
    served = nest.served[inner, operand]
    for level in range(outer, inner):
        served *= nest.spread[level, operand]
    arriving = nest.served[outer, operand]
    tile = tile_elements(problem, operand, nest.tile[outer])
    if operand == O:
        reads, fills, updates, held = _output_words(problem, nest, outer, served, arriving, tile)
        rows = _row_energy(problem, outer, reads, READ) + _row_energy(problem, outer, fills, FILL)
        rows += _row_energy(problem, outer, updates, UPDATE)
        fills += updates
    else:
        reads = _stored_words(problem, outer, served, operand)
        fills = _stored_words(problem, outer, arriving, operand)
        held = _stored_words(problem, outer, tile, operand)
        rows = _row_energy(problem, outer, reads, READ) + _row_energy(problem, outer, fills, FILL)
    nest.energy[inner] += rows * min(nest.instances[outer], problem.clusters[outer])
    if problem.networks > 0:
        nest.energy[inner] += network_energy(
            problem, nest, operand, outer, inner, problem.bits[operand], problem.bits[3]
        )
    nest.port_words[inner, outer, 0] += int(reads)
    nest.port_words[inner, outer, 1] += int(fills)
    nest.held_words[inner, outer] += int(held)


@compiled
def _output_words(
    problem: Problem, nest: Nest, level: int, updates: int, written_back: int, tile: int
) -> tuple[float, float, float, float]:
    """Words read, filled, updated and held of O at ``level``."""
    reads, fills, final, holds_partial = output_counts(problem, nest, level, updates, written_back)
    if problem.stored_bits[level, 2] == problem.stored_bits[level, 3]:
        update_words = _stored_words(problem, level, updates, 2)
    else:
        update_words = _stored_words(problem, level, updates - final, 3)
        update_words += _stored_words(problem, level, final, 2)
    return (
        _stored_words(problem, level, reads, 3),
        _stored_words(problem, level, fills, 3),
        update_words,
        _stored_words(problem, level, tile, 3 if holds_partial else 2),
    )


@compiled
def output_counts(
    problem: Problem, nest: Nest, level: int, updates: int, written_back: int
) -> tuple[int, int, int, bool]:
    """Elements of O read, filled and updated for the last time at ``level``; partial sums held?"""
    distinct = nest.outputs[level]
    across = reduced_in_space(nest, level)
    fills = 0
    if written_back > 0:
        fills = written_back if problem.first_fill_counted else written_back - distinct
    final = 0 if across else distinct
    partial = nest.summed[level, 0] != 0 or across or updates > distinct
    return updates - distinct, fills, final, partial


@compiled
def port_cycles(problem: Problem, nest: Nest, level: int) -> int:
    """Cycles that the ports of the memories priced outside ``level`` need."""
    cycles = 0.0
    for memory in range(problem.levels):
        for port in range(2):
            if problem.bandwidth[memory, port] < np.inf:
                needed = nest.port_words[level, memory, port] / problem.bandwidth[memory, port]
                cycles = max(cycles, needed)
    return int(np.ceil(cycles))


@compiled
def total_cost(problem: Problem, nest: Nest) -> tuple[float, int]:
    """Energy in pJ and cycles of a finished nest."""
    levels = problem.levels
    compute = int(np.ceil(nest.steps[levels] * problem.mac_cycles * (1 - ROUNDING)))
    cycles = max(compute, port_cycles(problem, nest, levels))
    leakage = 0.0
    for level in range(levels + 1):
        leakage += problem.leakage_pj[level] * nest.instances[level]
    return nest.energy[levels] + problem.mac_pj + leakage * cycles, cycles


@compiled
def price(problem: Problem, nest: Nest) -> tuple[float, int, bool]:
    """Energy, cycles and fit of a nest with its factors and orders set."""
    for level in range(problem.levels):
        push_loops(nest, level, nest.order[level])
        if not close_level(problem, nest, level):
            return 0.0, 0, False
    energy, cycles = total_cost(problem, nest)
    return energy, cycles, True


@compiled
def price_all(problem: Problem, nest: Nest, factors: Ints, orders: Ints) -> Floats:
    """Energy and cycles of many mappings, NaN where a tile does not fit.

    Args:
        problem: the layer on the machine.
        nest: scratch space.
        factors: (count, L, 3, 8).
        orders: (count, L, 8), innermost first.

    Returns:
        (count, 2).
    """
    results = np.empty((factors.shape[0], 2))
    for index in range(factors.shape[0]):
        for level in range(problem.levels):
            for dim in range(8):
                nest.order[level, dim] = orders[index, level, dim]
                for block in range(3):
                    nest.factors[level, block, dim] = factors[index, level, block, dim]
        energy, cycles, fits = price(problem, nest)
        results[index, 0] = energy if fits else np.nan
        results[index, 1] = cycles if fits else np.nan
    return results
