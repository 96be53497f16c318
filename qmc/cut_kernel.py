"""The analytical model where loops do not divide their dims, on flat arrays. Compiled.

The rules of :mod:`qmc.cost_models.remainders`, which stays the reference, priced level by level
from the outside as :mod:`qmc.nest_kernel` does for perfect factors.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import numpy as np

from qmc.cost_models.ports import ROUNDING
from qmc.cut_geometry import (
    ALL,
    NONE,
    cut_moved,
    cut_served,
    outputs_seen,
    summed_in_space,
    work_left,
)
from qmc.cut_records import CutNest
from qmc.jit import compiled
from qmc.nest_geometry import tile_elements
from qmc.nest_kernel import ceil_div, packed_words, port_cycles
from qmc.nest_records import FILL, READ, UPDATE, Ints, O, Problem


@compiled
def push_cut_loops(nest: CutNest, level: int, order: Ints) -> None:
    """Append the loops in time of ``level``; ``order`` lists all dims, innermost first."""
    last = nest.loop_count[level]
    for position in range(7, -1, -1):
        dim = order[position]
        if nest.factors[level, 0, dim] > 1:
            nest.loops[last, 0] = dim
            nest.loops[last, 1] = nest.factors[level, 0, dim]
            nest.loops[last, 2] = nest.inside[level, 0, dim]
            last += 1
    nest.loop_count[level + 1] = last


@compiled
def close_cut_level(problem: Problem, nest: CutNest, level: int) -> bool:
    """Price what the loops of ``level`` decide; False when a memory's tiles do not fit it.

    Factors, tiles and loops of the level must be set.
    """
    inner = level + 1
    nest.instances[inner] = nest.instances[level]
    for dim in range(8):
        nest.instances[inner] *= nest.factors[level, 1, dim] * nest.factors[level, 2, dim]
    nest.energy[inner] = nest.energy[level]
    for memory in range(inner):
        nest.port_words[inner, memory, 0] = nest.port_words[level, memory, 0]
        nest.port_words[inner, memory, 1] = nest.port_words[level, memory, 1]
        nest.held_words[inner, memory] = nest.held_words[level, memory]
    for operand in range(3):
        outer = problem.parent[inner, operand]
        if outer >= 0:
            if inner < problem.levels:
                for apart in range(2):
                    nest.arriving[inner, operand, apart] = cut_moved(
                        problem, nest, operand, inner, outer, apart
                    )
            if not _serve(problem, nest, operand, outer, inner):
                return False
    return True


@compiled
def _serve(problem: Problem, nest: CutNest, operand: int, outer: int, inner: int) -> bool:
    """Charge ``outer`` for all its accesses of ``operand``; False when its tiles do not fit."""
    limited = min(problem.bandwidth[outer, 0], problem.bandwidth[outer, 1]) < np.inf
    tile = tile_elements(problem, operand, nest.tile[outer])
    many = nest.instances[outer]
    served = cut_served(problem, nest, operand, outer, inner, True)
    arriving = nest.arriving[outer, operand, 1] if outer > 0 else 0
    partial = False
    if operand == O:
        partial = _holds_partial(problem, nest, outer) or served > outputs_seen(
            problem, nest, outer, ALL
        )
    held = packed_words(problem, outer, tile, problem.stored_bits[outer, 3 if partial else operand])
    nest.held_words[inner, outer] += held
    if problem.depth[outer] > 0 and nest.held_words[inner, outer] > problem.depth[outer]:
        return False
    reads, fills, updates = _words(problem, nest, operand, outer, served, arriving, ALL, many)
    row = problem.row_words[outer]
    energy = ceil_div(reads, row) * problem.access_pj[outer, READ]
    energy += ceil_div(fills, row) * problem.access_pj[outer, FILL]
    energy += ceil_div(updates, row) * problem.access_pj[outer, UPDATE]
    nest.energy[inner] += energy * min(many, problem.clusters[outer])
    if limited:
        served = cut_served(problem, nest, operand, outer, inner, False)
        arriving = nest.arriving[outer, operand, 0] if outer > 0 else 0
        reads, fills, updates = _words(problem, nest, operand, outer, served, arriving, NONE, 1)
        nest.port_words[inner, outer, 0] += reads
        nest.port_words[inner, outer, 1] += fills + updates
    return True


@compiled
def _words(
    problem: Problem,
    nest: CutNest,
    operand: int,
    outer: int,
    served: int,
    arriving: int,
    apart: int,
    many: int,
) -> tuple[int, int, int]:
    """Words that an average of ``many`` instances reads, is filled with and is updated with."""
    bits, partial_bits = problem.stored_bits[outer, operand], problem.stored_bits[outer, operand]
    updates = 0
    if operand == O:
        partial_bits = problem.stored_bits[outer, 3]
        distinct = outputs_seen(problem, nest, outer, apart)
        final = 0 if summed_in_space(nest, outer) else distinct
        finished, partial = ceil_div(final, many), ceil_div(served - final, many)
        if bits == partial_bits:
            updates = packed_words(problem, outer, finished + partial, bits)
        else:
            updates = packed_words(problem, outer, finished, bits)
            updates += packed_words(problem, outer, partial, partial_bits)
        served -= distinct
        if arriving > 0 and problem.first_fill_counted == 0:
            arriving -= distinct
    reads = packed_words(problem, outer, ceil_div(served, many), partial_bits)
    fills = packed_words(problem, outer, ceil_div(arriving, many), partial_bits)
    return reads, fills, updates


@compiled
def _holds_partial(problem: Problem, nest: CutNest, level: int) -> bool:
    """Whether a reduction loop lies outside ``level``."""
    for row in range(nest.loop_count[level]):
        if problem.reduction[nest.loops[row, 0]]:
            return True
    return summed_in_space(nest, level)


@compiled
def cut_cost(problem: Problem, nest: CutNest) -> tuple[float, int]:
    """Energy in pJ and cycles of a finished nest."""
    levels = problem.levels
    steps = work_left(problem, nest, levels)
    compute = int(np.ceil(steps * problem.mac_cycles * (1 - ROUNDING)))
    cycles = max(compute, port_cycles(problem, nest, levels))
    leakage = 0.0
    for level in range(levels + 1):
        leakage += problem.leakage_pj[level] * nest.instances[level]
    return nest.energy[levels] + problem.mac_pj + leakage * cycles, cycles
