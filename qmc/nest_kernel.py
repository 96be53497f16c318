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
    FILL,
    MAX_LEVELS,
    NEST,
    PLANES,
    PROBLEM,
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
    "row_accesses",
    "shrink_tile",
    "tile_elements",
    "total_cost",
    "window_height",
    "window_width",
]


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
def row_accesses(problem: Problem, level: int, words: int) -> int:
    """Row accesses that move ``words``."""
    return ceil_div(words, problem.row_words[level])


@compiled
def push_loops(nest: Nest, level: int, order: Ints) -> None:
    """Append the loops in time of ``level``; ``order`` lists all dims, innermost first."""
    row = nest.loop_count[level]
    steps = nest.steps[level]
    for position in range(7, -1, -1):
        dim = order[position]
        extent = nest.factors[level, 0, dim]
        if extent > 1:
            nest.loops[row, 0] = dim
            nest.loops[row, 1] = extent
            nest.loops[row, 2] = nest.tile[level, dim] // extent
            row += 1
            steps *= extent
    nest.loop_count[level + 1] = row
    nest.steps[level + 1] = steps


@compiled
def shrink_tile(nest: Nest, level: int) -> None:
    """Extents of the tile inside the loops of ``level``, and instances that they use."""
    used = 1
    for dim in range(8):
        taken = nest.factors[level, 1, dim] * nest.factors[level, 2, dim]
        nest.tile[level + 1, dim] = nest.tile[level, dim] // (nest.factors[level, 0, dim] * taken)
        used *= taken
    nest.instances[level + 1] = nest.instances[level] * used


@compiled
def close_level(problem: Problem, nest: Nest, level: int) -> bool:
    """Price what the loops of ``level`` decide; False when a memory's tiles do not fit it.

    All blocks of ``level`` must be filled and its loops pushed.
    """
    inner = level + 1
    shrink_tile(nest, level)
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
    receivers = distinct_receivers(problem, nest, operand, outer, inner)
    served = nest.served[inner, operand] * receivers
    arriving = nest.served[outer, operand]
    tile = tile_elements(problem, operand, nest.tile[outer])
    if operand == O:
        reads, fills, updates, held = _output_words(problem, nest, outer, served, arriving, tile)
    else:
        bits = problem.stored_bits[outer, operand]
        reads = packed_words(problem, outer, served, bits)
        fills = packed_words(problem, outer, arriving, bits)
        updates = 0
        held = packed_words(problem, outer, tile, bits)
    rows = (
        row_accesses(problem, outer, reads) * problem.access_pj[outer, READ]
        + row_accesses(problem, outer, fills) * problem.access_pj[outer, FILL]
        + row_accesses(problem, outer, updates) * problem.access_pj[outer, UPDATE]
    )
    nest.energy[inner] += rows * min(nest.instances[outer], problem.clusters[outer])
    if problem.networks > 0:
        nest.energy[inner] += network_energy(
            problem, nest, operand, outer, inner, problem.bits[operand], problem.bits[3]
        )
    nest.port_words[inner, outer, 0] += reads
    nest.port_words[inner, outer, 1] += fills + updates
    nest.held_words[inner, outer] += held


@compiled
def _output_words(
    problem: Problem, nest: Nest, level: int, updates: int, written_back: int, tile: int
) -> tuple[int, int, int, int]:
    """Words read, filled, updated and held of O at ``level``."""
    reads, fills, final, holds_partial = output_counts(
        problem, nest, level, updates, written_back, tile
    )
    finished, partial = problem.stored_bits[level, 2], problem.stored_bits[level, 3]
    if finished == partial:
        update_words = packed_words(problem, level, updates, finished)
    else:
        update_words = packed_words(problem, level, updates - final, partial)
        update_words += packed_words(problem, level, final, finished)
    return (
        packed_words(problem, level, reads, partial),
        packed_words(problem, level, fills, partial),
        update_words,
        packed_words(problem, level, tile, partial if holds_partial else finished),
    )


@compiled
def output_counts(
    problem: Problem, nest: Nest, level: int, updates: int, written_back: int, tile: int
) -> tuple[int, int, int, bool]:
    """Elements of O read, filled and updated for the last time at ``level``; partial sums held?"""
    distinct = tile
    reduced = False
    for row in range(nest.loop_count[level]):
        dim = nest.loops[row, 0]
        if problem.relevant[O, dim]:
            distinct *= nest.loops[row, 1]
        reduced = reduced or problem.reduction[dim]
    across = reduced_in_space(nest, level)
    fills = 0
    if written_back > 0:
        fills = written_back if problem.first_fill_counted else written_back - distinct
    final = 0 if across else distinct
    return updates - distinct, fills, final, reduced or across or updates > distinct


@compiled
def port_cycles(problem: Problem, nest: Nest, level: int) -> int:
    """Cycles that the ports of the memories priced outside ``level`` need."""
    cycles = 0.0
    for memory in range(problem.levels):
        for port in range(2):
            if problem.bandwidth[memory, port] < np.inf:
                needed = nest.port_words[level, memory, port] / problem.bandwidth[memory, port]
                cycles = max(cycles, np.ceil(needed))
    return int(cycles)


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
def price(problem: Problem, nest: Nest, orders: Ints) -> tuple[float, int, bool]:
    """Energy, cycles and fit of a nest with its factors set; ``orders`` (L, 8) innermost first."""
    for level in range(problem.levels):
        push_loops(nest, level, orders[level])
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
        nest.factors[: problem.levels] = factors[index]
        energy, cycles, fits = price(problem, nest, orders[index])
        results[index, 0] = energy if fits else np.nan
        results[index, 1] = cycles if fits else np.nan
    return results
