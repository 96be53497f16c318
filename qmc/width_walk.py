"""Search of a map space at many triples of widths at once. Compiled.

One depth-first walk as in :mod:`qmc.branch_and_bound`, in which every branch carries the triples
for which it can still win. A branch is cut when none is left.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qmc.branch_and_bound import (
    BY_ENERGY,
    CLOSE,
    FACTOR,
    OVER_CAPACITY,
    PRICED,
    VISITED,
    State,
    can_win,
    choose_factor,
    choose_order,
    keys,
)
from qmc.cost_models.ports import ROUNDING
from qmc.jit import compiled
from qmc.nest_bounds import TIE, Choices, known_leakage, most_parallel
from qmc.nest_kernel import Floats, I, Ints, Nest, O, Problem, W, push_loops
from qmc.random_walk import draw_factor, draw_order, move_factor
from qmc.width_kernel import MAX_CLASSES, Prices, Widths, bound_level, hold, price_level


class Triples(NamedTuple):
    """The triples of widths, and the best mapping known for each; T of them, L memories.

    Attributes:
        classes: (T, 3), class of W, I and O.
        mac_pj: (T,) energy of all multiply-accumulates.
        mac_cycles: (T,) cycles of one of them.
        alive: (L + 1, T), numbers of the triples for which the branch can win, by level.
        alive_count: (L + 1,).
        best: (T, 2), objective value and tie-breaker.
        best_factors: (T, L, 3, 8). best_orders: (T, L, 8).
        known: (L + 1, L, 3), by level: 1 where the words of an operand at a memory are priced.
        limited: (n, 2), memory and port of the ports whose bandwidth is limited.
    """

    classes: Ints
    mac_pj: Floats
    mac_cycles: Floats
    alive: Ints
    alive_count: Ints
    best: Floats
    best_factors: Ints
    best_orders: Ints
    known: Any
    limited: Ints


@compiled
def run_widths(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
    objective: int,
    steps: int,
) -> bool:
    """Search on for at most ``steps`` steps; True when the space is exhausted."""
    count = choices.step_count
    for _ in range(steps):
        depth = state.depth
        if depth < 0:
            return True
        if depth == count:
            state.depth -= 1
            continue
        state.choice[depth] += 1
        kind = choices.steps[depth, 0]
        if kind == FACTOR:
            move = choose_factor(choices, nest, state, depth)
        elif kind == CLOSE:
            move = _close(problem, choices, widths, nest, prices, state, triples, objective, depth)
        else:
            move = choose_order(choices, nest, state, depth)
        if move < 0:
            state.depth -= 1
        else:
            state.depth += 1
            state.choice[depth + 1] = -1
    return state.depth < 0


@compiled
def _close(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
    objective: int,
    depth: int,
) -> int:
    """Price a level whose loops are chosen; cut the branch if no triple is left that can win."""
    if state.choice[depth] > 0:
        return -1
    level = choices.steps[depth, 1]
    state.counts[VISITED] += 1
    price_level(problem, widths, nest, prices, level)
    if not _filter_fitting(problem, widths, prices, triples, level):
        state.counts[OVER_CAPACITY] += 1
        return -1
    if level + 1 == problem.levels:
        state.counts[PRICED] += 1
        _keep_best(problem, nest, prices, state, triples, objective)
        return -1
    for dim in range(8):
        state.rest[depth + 1, dim] = state.rest[depth, dim]
    bound_level(problem, choices, widths, nest, prices, level + 1)
    if not _filter_winning(problem, choices, widths, nest, prices, triples, objective, level + 1):
        state.counts[BY_ENERGY] += 1
        return -1
    return 1


@compiled
def _filter_fitting(
    problem: Problem, widths: Widths, prices: Prices, triples: Triples, level: int
) -> bool:
    """Keep the triples at which the tiles of the memories that are known by now fit."""
    inner = level + 1
    alive, count = triples.alive, triples.alive_count[level]
    for n in range(count):
        alive[inner, n] = alive[level, n]
    if level == 0:
        count = _fit_memory(problem, widths, prices, triples, 0, inner, count)
    if inner < problem.levels:
        count = _fit_memory(problem, widths, prices, triples, inner, inner, count)
    above = problem.parent[inner, O]
    if above >= 0:
        count = _fit_memory(problem, widths, prices, triples, above, inner, count)
    triples.alive_count[inner] = count
    return count > 0


@compiled
def _fit_memory(
    problem: Problem,
    widths: Widths,
    prices: Prices,
    triples: Triples,
    memory: int,
    inner: int,
    count: int,
) -> int:
    """Drop the triples whose tiles overflow one memory; returns how many are left."""
    depth = float(problem.depth[memory])
    if depth == 0:
        return count
    held = prices.held[memory]
    most = 0.0
    for operand in range(3):
        largest = 0.0
        for c in range(widths.classes[operand]):
            largest = max(largest, held[operand, c])
        most += largest
    if most <= depth:
        return count
    left = 0
    for n in range(count):
        t = triples.alive[inner, n]
        w, i, o = triples.classes[t, W], triples.classes[t, I], triples.classes[t, O]
        if held[W, w] + held[I, i] + held[O, o] <= depth:
            triples.alive[inner, left] = t
            left += 1
    return left


@compiled
def _filter_winning(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    triples: Triples,
    objective: int,
    level: int,
) -> bool:
    """Keep the triples for which some completion inside ``level`` may be the best."""
    steps = float(nest.steps[level])
    for dim in range(8):
        steps *= nest.tile[level, dim]
    widest = most_parallel(choices, nest, level, problem.levels, choices.no_dims)
    steps = steps / widest * (1 - TIE)
    leakage = known_leakage(problem, nest, level)
    for operand in range(3):
        for c in range(widths.classes[operand]):
            prices.total[operand, c] = prices.energy[level, operand, c] + prices.pending[operand, c]
    left = 0
    for n in range(triples.alive_count[level]):
        t = triples.alive[level, n]
        energy = _sum_of(prices, triples, t)
        cycles = np.ceil(steps * triples.mac_cycles[t])
        first, second = keys(energy + cycles * leakage, cycles, objective)
        if not can_win(first, second, triples.best[t]):
            continue
        cycles = max(cycles, _port_cycles(problem, prices, triples, t, level))
        first, second = keys(energy + cycles * leakage, cycles, objective)
        if can_win(first, second, triples.best[t]):
            triples.alive[level, left] = t
            left += 1
    triples.alive_count[level] = left
    return left > 0


@compiled
def _sum_of(prices: Prices, triples: Triples, t: int) -> float:
    """Energy at one triple, leakage left out."""
    w, i, o = triples.classes[t, W], triples.classes[t, I], triples.classes[t, O]
    return prices.total[W, w] + prices.total[I, i] + prices.total[O, o] + triples.mac_pj[t]


@compiled
def _port_cycles(problem: Problem, prices: Prices, triples: Triples, t: int, level: int) -> float:
    """Cycles that the ports of the memories priced outside ``level`` need at one triple."""
    cycles = 0.0
    for index in range(triples.limited.shape[0]):
        memory, port = triples.limited[index, 0], triples.limited[index, 1]
        words = 0.0
        for operand in range(3):
            if triples.known[level, memory, operand]:
                words += prices.moved[memory, port, operand, triples.classes[t, operand]]
        cycles = max(cycles, np.ceil(words / problem.bandwidth[memory, port]))
    return cycles


@compiled
def _keep_best(
    problem: Problem,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
    objective: int,
) -> None:
    """Price a whole mapping at every triple that is left and keep it where it is the best."""
    levels = problem.levels
    leakage = known_leakage(problem, nest, levels)
    for operand in range(3):
        for c in range(MAX_CLASSES):
            prices.total[operand, c] = prices.energy[levels, operand, c]
    for n in range(triples.alive_count[levels]):
        t = triples.alive[levels, n]
        energy = _sum_of(prices, triples, t)
        compute = np.ceil(nest.steps[levels] * triples.mac_cycles[t] * (1 - ROUNDING))
        cycles = max(compute, _port_cycles(problem, prices, triples, t, levels))
        first, second = keys(energy + leakage * cycles, cycles, objective)
        if can_win(first, second, triples.best[t]):
            triples.best[t, 0], triples.best[t, 1] = first, second
            for level in range(levels):
                for dim in range(8):
                    triples.best_orders[t, level, dim] = state.order[level, dim]
                    for axis in range(3):
                        factor = nest.factors[level, axis, dim]
                        triples.best_factors[t, level, axis, dim] = factor


@compiled
def price_root(
    problem: Problem, widths: Widths, nest: Nest, prices: Prices, triples: Triples
) -> None:
    """Begin with a nest without loops and all triples alive."""
    for operand in range(3):
        if problem.holder[0, operand] == 0:
            hold(problem, widths, nest, prices, operand, 0)
    triples.alive_count[0] = triples.classes.shape[0]
    for t in range(triples.classes.shape[0]):
        triples.alive[0, t] = t


@compiled
def sample_widths(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
    objective: int,
    seed: int,
    count: int,
) -> None:
    """Draw ``count`` mappings; each triple keeps the best for it."""
    np.random.seed(seed)
    for _ in range(count):
        if _descend(problem, choices, widths, nest, prices, state, triples):
            _keep_best(problem, nest, prices, state, triples, objective)


@compiled
def _descend(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
) -> bool:
    """Draw one mapping; False when it ends in a corner or fits at no triple."""
    for depth in range(choices.step_count):
        kind, level = choices.steps[depth, 0], choices.steps[depth, 1]
        for dim in range(8):
            state.rest[depth + 1, dim] = state.rest[depth, dim]
        if kind == FACTOR:
            if not draw_factor(choices, nest, state, depth):
                return False
        elif kind == CLOSE:
            price_level(problem, widths, nest, prices, level)
            if not _filter_fitting(problem, widths, prices, triples, level):
                return False
        else:
            draw_order(choices, nest, state, level)
    return True


@compiled
def climb_widths(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
    objective: int,
    seed: int,
    count: int,
) -> None:
    """Try ``count`` random changes to the best mapping of each triple, for all triples."""
    np.random.seed(seed)
    for t in range(triples.classes.shape[0]):
        if triples.best[t, 0] < np.inf:
            for _ in range(count):
                if _change(problem, choices, widths, nest, prices, state, triples, t):
                    _keep_best(problem, nest, prices, state, triples, objective)


@compiled
def _change(
    problem: Problem,
    choices: Choices,
    widths: Widths,
    nest: Nest,
    prices: Prices,
    state: State,
    triples: Triples,
    t: int,
) -> bool:
    """Price a random change to the best mapping of a triple; False when it fits at none."""
    for level in range(problem.levels):
        for dim in range(8):
            state.order[level, dim] = triples.best_orders[t, level, dim]
            for axis in range(3):
                nest.factors[level, axis, dim] = triples.best_factors[t, level, axis, dim]
    changed = move_factor(problem, choices, nest)
    if np.random.randint(2) == 0:
        changed = move_factor(problem, choices, nest) or changed
    drawn = np.random.randint(problem.levels)
    if not changed:
        return False
    for level in range(problem.levels):
        if level == drawn:
            draw_order(choices, nest, state, level)
        else:
            push_loops(nest, level, state.order[level])
        price_level(problem, widths, nest, prices, level)
        if not _filter_fitting(problem, widths, prices, triples, level):
            return False
    return True
