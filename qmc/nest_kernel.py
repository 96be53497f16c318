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
from qmc.jit import compiled, inlined
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


#: A number for each dim.
Row = tuple[int, int, int, int, int, int, int, int]

#: What a reciprocal is too small by, relative (:func:`ceil_quotient`), and numbers small enough.
BELOW = 2.0**-50
_EXACT = 1 << 48


@inlined
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


@inlined
def ceil_quotient(number: float, divisor: int, reciprocal: float) -> float:
    """A whole number over another, rounded up, by a reciprocal too small by :data:`BELOW`.

    Of a number below 1 / (4 * BELOW) the product is too small by less than 1 / divisor, and never
    too large: it rounds up to the same whole number as the quotient, without a division.
    """
    if number < _EXACT:
        return np.ceil(number * reciprocal)
    return float(ceil_div(int(number), divisor))


@inlined
def _stored_words(problem: Problem, level: int, elements: int, kind: int) -> float:
    """Words that ``elements`` of W, I, a finished O or a partial sum (0 to 3) take."""
    units = float(elements * problem.pack[level, kind, 2])
    packs = ceil_quotient(units, problem.pack[level, kind, 0], problem.per_pack[level, kind])
    return packs * problem.pack[level, kind, 1]


@inlined
def _row_energy(problem: Problem, level: int, words: float, action: int) -> float:
    """Energy of the row accesses that move ``words``."""
    rows = ceil_quotient(words, problem.row_words[level], problem.per_row[level])
    return rows * problem.access_pj[level, action]


@inlined
def store_row(target: Ints, row: Row) -> None:
    """Write eight numbers, one per dim. All are known before: the compiler writes them as one."""
    target[0], target[1], target[2], target[3] = row[0], row[1], row[2], row[3]
    target[4], target[5], target[6], target[7] = row[4], row[5], row[6], row[7]


@inlined
def copy_row(target: Ints, source: Ints) -> None:
    """Copy eight numbers, one per dim."""
    a, b, c, d = source[0], source[1], source[2], source[3]
    e, f, g, h = source[4], source[5], source[6], source[7]
    store_row(target, (a, b, c, d, e, f, g, h))


@inlined
def quotients(row: Ints, by: Ints | Row) -> Row:
    """Exact quotients of eight numbers below 2**53."""
    a, b, c, d = int(row[0] / by[0]), int(row[1] / by[1]), int(row[2] / by[2]), int(row[3] / by[3])
    e, f, g, h = int(row[4] / by[4]), int(row[5] / by[5]), int(row[6] / by[6]), int(row[7] / by[7])
    return a, b, c, d, e, f, g, h


@inlined
def push_loops(nest: Nest, level: int, order: Ints) -> None:
    """Append the loops in time of ``level``; ``order`` lists all dims, innermost first."""
    factors, inside = nest.factors[level, 0], nest.inside[level]
    left = quotients(nest.tile[level], factors)
    store_row(inside, left)
    store_row(nest.tile[level + 1], left)
    last, steps = nest.loop_count[level], nest.steps[level]
    for position in range(7, -1, -1):
        dim = order[position]
        extent = factors[dim]
        if extent > 1:
            nest.loops[last, DIM] = dim
            nest.loops[last, EXTENT] = extent
            nest.loops[last, REACH] = inside[dim]
            nest.loops[last, OUTSIDE] = steps
            steps *= extent
            last += 1
    nest.loop_count[level + 1] = last
    nest.steps[level + 1] = steps
    summed = factors[C] * factors[R] * factors[S] > 1
    nest.summed[level + 1, 0] = nest.summed[level, 0] | summed


@inlined
def shrink_tile(problem: Problem, nest: Nest, level: int) -> None:
    """Extents of the tile inside all loops of ``level``, and instances that they use.

    The loops in time must have been pushed.
    """
    inner = level + 1
    nest.instances[inner] = nest.instances[level]
    nest.outputs[inner] = nest.outputs[level]
    nest.summed[inner, 1] = nest.summed[level, 1]
    if problem.fan_out[level, 0] * problem.fan_out[level, 1] == 1:
        return
    x, y = nest.factors[level, 1], nest.factors[level, 2]
    n, g, k, c = x[N] * y[N], x[G] * y[G], x[K] * y[K], x[C] * y[C]
    p, q, r, s = x[P] * y[P], x[Q] * y[Q], x[R] * y[R], x[S] * y[S]
    store_row(nest.tile[inner], quotients(nest.inside[level], (n, g, k, c, p, q, r, s)))
    outputs = n * g * k * p * q
    used = outputs * c * r * s
    nest.instances[inner] *= used
    nest.outputs[inner] = int(nest.outputs[inner] / outputs)
    nest.summed[inner, 1] |= used > outputs


@inlined
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


@inlined
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


@inlined
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


@inlined
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


@inlined
def port_cycles(problem: Problem, nest: Nest, level: int) -> int:
    """Cycles that the ports of the memories priced outside ``level`` need."""
    cycles = 0.0
    for memory in range(problem.levels):
        for port in range(2):
            if problem.bandwidth[memory, port] < np.inf:
                needed = nest.port_words[level, memory, port] / problem.bandwidth[memory, port]
                cycles = max(cycles, needed)
    return int(np.ceil(cycles))


@inlined
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
            copy_row(nest.order[level], orders[index, level])
            for block in range(3):
                copy_row(nest.factors[level, block], factors[index, level, block])
        energy, cycles, fits = price(problem, nest)
        results[index, 0] = energy if fits else np.nan
        results[index, 1] = cycles if fits else np.nan
    return results
