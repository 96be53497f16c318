"""Depth-first search of a map space, outermost loops first, with admissible bounds. Compiled.

A *step* chooses one factor, one order of a temporal block, or closes a level: then everything that
the loops so far decide is priced exactly (:mod:`qmc.nest_kernel`), a memory that overflows cuts the
branch, and so does a lower bound on the rest that cannot beat the best mapping so far.

The bound on the rest: a memory that is still to be priced receives at least what a holder of the
whole remaining tile would, hands every element of it inward at least once, and the innermost one
serves every multiply-accumulate, shared by no more instances than the fan-outs can still hold. It
leaves out the rounding to words and rows, so it stays below.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled
from qmc.nest_kernel import (
    MAX_LEVELS,
    FILL,
    READ,
    UPDATE,
    C,
    Floats,
    I,
    Ints,
    Nest,
    O,
    P,
    Problem,
    Q,
    R,
    S,
    close_level,
    distinct_receivers,
    distinct_sums,
    moved_elements,
    port_cycles,
    push_loops,
    total_cost,
    window_height,
    window_width,
)

FACTOR, ORDER, CLOSE = range(3)
EDP, ENERGY, LATENCY = range(3)
#: Relative difference below which two sums of the same energies count as equal.
TIE = 1e-12
#: Steps between two looks at the clock.
SLICE = 1 << 16


_MAX_STEPS = 27 * MAX_LEVELS
#: Most divisors of a bound (any number below 2**31 has at most 1536; of loop bounds few have 64).
MAX_DIVISORS = 128
MAX_ORDERS = 12
_MAX_AXES = 2 * MAX_LEVELS

#: What may be chosen. Fields:
#: step_count, steps: kind, level, axis (0 is time), dim of every step.
#: divisors: of the bounds, ascending, padded with 0.
#: quotient: index of divisor i / divisor j, -1 when it does not divide.
#: exact, maximum, limit: as in :class:`qmc.mapspace.Block`.
#: possible: whether the blocks inside can take the rest with that index.
#: follow: the dim that shares its limits with G.
#: orders: to try, innermost first. order_lists: their indices by set of dims with a loop, -1 at the end.
#: axis_count, axes: level, axis, limit of the axes with more than one instance, outermost first.
#: axis_dims: whether a dim may lie along such an axis. no_dims: eight times False.
CHOICES = np.dtype(
    [
        ("step_count", np.int64),
        ("steps", np.int64, (_MAX_STEPS, 4)),
        ("divisors", np.int64, (8, MAX_DIVISORS)),
        ("quotient", np.int16, (8, MAX_DIVISORS, MAX_DIVISORS)),
        ("exact", np.int64, (MAX_LEVELS, 3, 8)),
        ("maximum", np.int64, (MAX_LEVELS, 3, 8)),
        ("limit", np.int64, (MAX_LEVELS, 3)),
        ("possible", np.int8, (MAX_LEVELS, 3, 8, MAX_DIVISORS)),
        ("follow", np.int64),
        ("orders", np.int64, (MAX_LEVELS, MAX_ORDERS, 8)),
        ("order_lists", np.int8, (MAX_LEVELS, 256, MAX_ORDERS)),
        ("axis_count", np.int64),
        ("axes", np.int64, (_MAX_AXES, 3)),
        ("axis_dims", np.int8, (_MAX_AXES, 8)),
        ("no_dims", np.int8, (8,)),
    ],
    align=True,
)

#: Where the search stands; it can be left and taken up again. Fields:
#: depth: current step. choice: last choice tried of each step.
#: rest: index of the divisor that is left of each bound before a step.
#: used: product of the factors on the current axis before a step.
#: bound: lower bound of the objective before a step.
#: best: objective value and tie-breaker of the best mapping; best_factors, best_orders: its loops.
#: order: current order of each level.
#: counts: mappings priced, branches cut by capacity, branches cut by bound.
STATE = np.dtype(
    [
        ("depth", np.int64),
        ("choice", np.int64, (_MAX_STEPS + 1,)),
        ("rest", np.int64, (_MAX_STEPS + 1, 8)),
        ("used", np.int64, (_MAX_STEPS + 1,)),
        ("bound", np.float64, (_MAX_STEPS + 1,)),
        ("best", np.float64, (2,)),
        ("best_factors", np.int64, (MAX_LEVELS, 3, 8)),
        ("best_orders", np.int64, (MAX_LEVELS, 8)),
        ("order", np.int64, (MAX_LEVELS, 8)),
        ("counts", np.int64, (3,)),
    ],
    align=True,
)

#: One element of a structured array each.
Choices = Any
State = Any

PRICED, OVER_CAPACITY, OVER_BOUND = range(3)


@compiled
def run(
    problem: Problem, choices: Choices, nest: Nest, state: State, objective: int, steps: int
) -> bool:
    """Search on for at most ``steps`` steps; True when the space is exhausted."""
    count = choices.step_count
    for _ in range(steps):
        depth = state.depth
        if depth < 0:
            return True
        if depth == count:
            _leaf(problem, nest, state, objective)
            state.depth -= 1
            continue
        state.choice[depth] += 1
        kind = choices.steps[depth, 0]
        if kind == FACTOR:
            move = _choose_factor(choices, nest, state, depth)
        elif kind == ORDER:
            move = _choose_order(choices, nest, state, depth)
        else:
            move = _close(problem, choices, nest, state, objective, depth)
        if move < 0:
            state.depth -= 1
        elif move > 0:
            state.depth += 1
            state.choice[depth + 1] = -1
    return state.depth < 0


@compiled
def _choose_factor(choices: Choices, nest: Nest, state: State, depth: int) -> int:
    """Take the next factor that a dim may have here: 1 to go on, -1 when none is left."""
    level, axis, dim = choices.steps[depth, 1], choices.steps[depth, 2], choices.steps[depth, 3]
    rest = state.rest[depth, dim]
    inside = depth > 0 and choices.steps[depth - 1, 0] == FACTOR
    inside = inside and choices.steps[depth - 1, 2] == axis
    used = state.used[depth] if inside else 1
    limit = choices.limit[level, axis]
    for index in range(state.choice[depth], rest + 1):
        at = rest - index if axis > 0 else index  # in space the most parallel first
        left = choices.quotient[dim, rest, at]
        factor = choices.divisors[dim, at]
        if left < 0 or not choices.possible[level, axis, dim, left]:
            continue
        if limit > 0 and used * factor > limit:
            continue
        if _allowed(choices, nest, level, axis, dim, factor):
            nest.factors[level, axis, dim] = factor
            for other in range(8):
                state.rest[depth + 1, other] = state.rest[depth, other]
            state.rest[depth + 1, dim] = left
            state.used[depth + 1] = used * factor
            state.bound[depth + 1] = state.bound[depth]
            state.choice[depth] = index
            return 1
    return -1


@compiled
def _allowed(
    choices: Choices, nest: Nest, level: int, axis: int, dim: int, factor: int
) -> bool:
    """Whether a block's constraint allows a factor; G and the dim it follows share theirs."""
    own = choices.follow if dim == 1 else dim
    exact, maximum = choices.exact[level, axis, own], choices.maximum[level, axis, own]
    if dim == 1:
        return (exact == 0 or exact % factor == 0) and (maximum == 0 or factor <= maximum)
    taken = factor * nest.factors[level, axis, 1] if dim == choices.follow else factor
    return (exact == 0 or taken == exact) and (maximum == 0 or taken <= maximum)


@compiled
def _choose_order(choices: Choices, nest: Nest, state: State, depth: int) -> int:
    """Take the next order of a level's loops in time."""
    level = choices.steps[depth, 1]
    looped = 0
    for dim in range(8):
        if nest.factors[level, 0, dim] > 1:
            looped |= 1 << dim
    lists = choices.order_lists
    if state.choice[depth] >= MAX_ORDERS or lists[level, looped, state.choice[depth]] < 0:
        return -1
    chosen = lists[level, looped, state.choice[depth]]
    for position in range(8):
        state.order[level, position] = choices.orders[level, chosen, position]
        state.rest[depth + 1, position] = state.rest[depth, position]
    push_loops(nest, level, state.order[level])
    state.bound[depth + 1] = state.bound[depth]
    return 1


@compiled
def _close(
    problem: Problem, choices: Choices, nest: Nest, state: State, objective: int, depth: int
) -> int:
    """Price a level whose loops are chosen; cut the branch if it does not fit or cannot win."""
    if state.choice[depth] > 0:
        return -1
    level = choices.steps[depth, 1]
    if not close_level(problem, nest, level):
        state.counts[OVER_CAPACITY] += 1
        return -1
    for dim in range(8):
        state.rest[depth + 1, dim] = state.rest[depth, dim]
    state.bound[depth + 1] = state.bound[depth]
    if level + 1 < problem.levels:
        energy = nest.energy[level + 1] + problem.mac_pj
        energy += pending_energy(problem, choices, nest, level + 1)
        cycles = least_cycles(problem, choices, nest, level + 1)
        energy += cycles * _known_leakage(problem, nest, level + 1)
        first, second = keys(energy, cycles, objective)
        if not _can_win(first, second, state.best):
            state.counts[OVER_BOUND] += 1
            return -1
        state.bound[depth + 1] = max(first, state.bound[depth])
    return 1


@compiled
def _known_leakage(problem: Problem, nest: Nest, level: int) -> float:
    """Leakage per cycle of the instances already in use."""
    leakage = 0.0
    for index in range(level + 1):
        leakage += problem.leakage_pj[index] * nest.instances[index]
    return leakage


@compiled
def _leaf(problem: Problem, nest: Nest, state: State, objective: int) -> None:
    """Price a whole mapping and keep it when it is the best."""
    state.counts[PRICED] += 1
    energy, cycles = total_cost(problem, nest)
    first, second = keys(energy, float(cycles), objective)
    if _can_win(first, second, state.best):
        state.best[0], state.best[1] = first, second
        for level in range(problem.levels):
            for dim in range(8):
                state.best_orders[level, dim] = state.order[level, dim]
                for axis in range(3):
                    state.best_factors[level, axis, dim] = nest.factors[level, axis, dim]


@compiled
def keys(energy: float, cycles: float, objective: int) -> tuple[float, float]:
    """What the search minimizes, and what decides among equals."""
    if objective == ENERGY:
        return energy, cycles
    if objective == LATENCY:
        return cycles, energy
    return energy * cycles, cycles


@compiled
def _can_win(first: float, second: float, best: Floats) -> bool:
    """Whether keys at least these can be better than the best."""
    slack = TIE * best[0] if best[0] < np.inf else 0.0
    if first < best[0] - slack:
        return True
    return first <= best[0] + slack and second < best[1] * (1 - TIE)


@compiled
def least_cycles(problem: Problem, choices: Choices, nest: Nest, level: int) -> float:
    """Cycles that no completion of the nest outside ``level`` stays below."""
    work = float(nest.steps[level])
    for dim in range(8):
        work *= nest.tile[level, dim]
    work /= most_parallel(choices, nest, level, choices.no_dims)
    return max(np.ceil(work * (1 - TIE)), float(port_cycles(problem, nest, level)))


@compiled
def most_parallel(
    choices: Choices, nest: Nest, level: int, barred: NDArray[np.bool_]
) -> float:
    """Most instances that loops in space inside ``level`` can use, dims in ``barred`` left out."""
    total = 1.0
    for index in range(choices.axis_count):
        if choices.axes[index, 0] >= level:
            room = 1.0
            for dim in range(8):
                if choices.axis_dims[index, dim] and not barred[dim]:
                    room *= nest.tile[level, dim]
            total *= min(room, float(choices.axes[index, 2]))
    return total


@compiled
def pending_energy(problem: Problem, choices: Choices, nest: Nest, level: int) -> float:
    """Energy that the memories not yet priced will need at least, outside ``level`` being fixed."""
    energy = 0.0
    for operand in range(3):
        outer = problem.holder[level, operand]
        innermost = problem.holder[problem.levels - 1, operand]
        energy += _known_fills(problem, choices, nest, operand, outer)
        if outer != innermost:
            energy += _passing(problem, choices, nest, operand, outer, innermost, level)
        energy += _serving_macs(problem, choices, nest, operand, innermost, level)
    return energy


@compiled
def _known_fills(
    problem: Problem, choices: Choices, nest: Nest, operand: int, outer: int
) -> float:
    """Fills of a memory whose tile is known."""
    arriving = float(nest.served[outer, operand]) if outer > 0 else 0.0
    if operand == O and problem.first_fill_counted == 0 and arriving > 0:
        arriving -= _distinct_outputs(problem, nest, outer)
    pj = problem.psum_pj[outer, FILL] if operand == O else problem.element_pj[outer, operand, FILL]
    return arriving * nest.instances[outer] * pj


@compiled
def _distinct_outputs(problem: Problem, nest: Nest, level: int) -> float:
    """Different outputs that one instance of ``level`` holds over the run."""
    count = 1.0
    for dim in range(8):
        if problem.relevant[O, dim]:
            count *= nest.tile[level, dim]
    for row in range(nest.loop_count[level]):
        if problem.relevant[O, nest.loops[row, 0]]:
            count *= nest.loops[row, 1]
    return count


@compiled
def _passing(
    problem: Problem,
    choices: Choices,
    nest: Nest,
    operand: int,
    outer: int,
    innermost: int,
    level: int,
) -> float:
    """Energy to pass every element of the tile at ``level`` down to the innermost memory once."""
    if outer == level and level > 0:
        elements = float(nest.served[level, operand]) * nest.instances[outer]
    else:
        elements = float(moved_elements(problem, nest, operand, level))
        elements *= distinct_receivers(problem, nest, operand, outer, level)
        elements *= nest.instances[outer]
    if operand == O:
        return _passing_outputs(choices, nest, problem, outer, innermost, elements)
    if operand == I:
        elements *= touched_share(problem, nest.tile[level])
    energy = 0.0
    for memory in range(outer, innermost + 1):
        if problem.holder[memory, operand] == memory:
            if memory < innermost:
                energy += elements * problem.element_pj[memory, operand, READ]
            if memory > outer:
                energy += elements * problem.element_pj[memory, operand, FILL]
    return energy


@compiled
def _passing_outputs(
    choices: Choices, nest: Nest, problem: Problem, outer: int, innermost: int, updates: float
) -> float:
    """Energy to pass outputs up: all but the finished ones are partial sums and are read again."""
    finished = min(updates, _distinct_outputs(problem, nest, outer) * nest.instances[outer])
    energy = (updates - finished) * (problem.psum_pj[outer, READ] + problem.psum_pj[outer, UPDATE])
    for memory in range(outer, innermost):
        if problem.holder[memory, O] == memory:
            energy += finished * problem.element_pj[memory, O, UPDATE]
    return energy


@compiled
def touched_share(problem: Problem, tile: Ints) -> float:
    """Share of I's box that is used: strides and dilations above the window leave holes."""
    rows = distinct_sums(problem.window[0], tile[P], problem.window[1], tile[R])
    columns = distinct_sums(problem.window[2], tile[Q], problem.window[3], tile[S])
    box = float(window_height(problem, tile) * window_width(problem, tile))
    return rows * columns / box


@compiled
def _serving_macs(
    problem: Problem, choices: Choices, nest: Nest, operand: int, innermost: int, level: int
) -> float:
    """Energy of the innermost memory to serve every multiply-accumulate."""
    barred = problem.relevant[operand]
    shared = most_parallel(choices, nest, level, barred)
    for outer in range(innermost, level):
        for dim in range(8):
            if not barred[dim]:
                shared *= nest.factors[outer, 1, dim] * nest.factors[outer, 2, dim]
    work = 1.0
    for dim in range(8):
        work *= problem.bounds[dim]
    elements = work / shared
    if operand != O:
        return elements * problem.element_pj[innermost, operand, READ]
    finished = _all_outputs(problem, choices, nest, level)
    partial = max(0.0, elements - finished)
    energy = partial * (problem.psum_pj[innermost, READ] + problem.psum_pj[innermost, UPDATE])
    return energy + min(elements, finished) * problem.element_pj[innermost, O, UPDATE]


@compiled
def _all_outputs(problem: Problem, choices: Choices, nest: Nest, level: int) -> float:
    """Most outputs that all instances of any memory inside can hold over the run, copies counted."""
    copies = most_parallel(choices, nest, level, problem.relevant[O])
    for outer in range(level):
        for dim in (C, R, S):
            copies *= nest.factors[outer, 1, dim] * nest.factors[outer, 2, dim]
    for dim in range(8):
        if problem.relevant[O, dim]:
            copies *= problem.bounds[dim]
    return copies

