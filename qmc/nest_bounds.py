"""Lower bounds on what a partly built nest will cost. Compiled.

A memory that is still to be priced receives at least what a holder of the whole remaining tile
would, hands every element of it inward at least once, and the innermost one serves every
multiply-accumulate, shared by no more instances than the fan-outs can still hold. The bounds leave
out the rounding to words and rows, so they stay below every completion.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled
from qmc.nest_kernel import (
    FILL,
    MAX_LEVELS,
    READ,
    UPDATE,
    C,
    I,
    Ints,
    Nest,
    O,
    P,
    Problem,
    Q,
    R,
    S,
    distinct_along,
    distinct_receivers,
    distinct_sums,
    moved_elements,
    port_cycles,
    window_height,
    window_width,
)

#: Bounds stay below by this, relative: sums of the same numbers in another order differ.
TIE = 1e-12
#: Steps of a search: eight factors in each of three blocks of a level, an order, a close.
MAX_STEPS = 26 * MAX_LEVELS
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
#: orders: to try, innermost first. order_lists: their indices by set of dims with a loop, -1 at
#: the end.
#: axis_count, axes: level, axis, limit of the axes with more than one instance, outermost first.
#: axis_dims: whether a dim may lie along such an axis. no_dims: eight times False.
CHOICES = np.dtype(
    [
        ("step_count", np.int64),
        ("steps", np.int64, (MAX_STEPS, 4)),
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

#: One element of a structured array.
Choices = Any


@compiled
def known_leakage(problem: Problem, nest: Nest, level: int) -> float:
    """Leakage per cycle of the instances already in use."""
    leakage = 0.0
    for index in range(level + 1):
        leakage += problem.leakage_pj[index] * nest.instances[index]
    return leakage


@compiled
def least_cycles(problem: Problem, choices: Choices, nest: Nest, level: int) -> float:
    """Cycles that no completion of the nest outside ``level`` stays below."""
    work = float(nest.steps[level])
    for dim in range(8):
        work *= nest.tile[level, dim]
    work *= problem.mac_cycles / most_parallel(
        choices, nest, level, problem.levels, choices.no_dims
    )
    return max(np.ceil(work * (1 - TIE)), float(port_cycles(problem, nest, level)))


@compiled
def most_parallel(
    choices: Choices,
    nest: Nest,
    level: int,
    innermost: int,
    barred: NDArray[np.bool_],
) -> float:
    """Most instances that loops in space below levels ``level`` to ``innermost`` can use.

    Dims in ``barred`` are left out.
    """
    total = 1.0
    for index in range(choices.axis_count):
        if level <= choices.axes[index, 0] <= innermost:
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
        energy += _known_fills(problem, nest, operand, outer)
        if outer != innermost:
            energy += _passing(problem, nest, operand, outer, innermost, level)
        energy += _serving_macs(problem, choices, nest, operand, innermost, level)
    return energy


@compiled
def _known_fills(problem: Problem, nest: Nest, operand: int, outer: int) -> float:
    """Energy of the fills of a memory whose tile is known."""
    pj = problem.psum_pj[outer, FILL] if operand == O else problem.element_pj[outer, operand, FILL]
    return filled_elements(problem, nest, operand, outer) * pj


@compiled
def filled_elements(problem: Problem, nest: Nest, operand: int, outer: int) -> float:
    """Elements that fill all instances of a memory whose tile is known."""
    arriving = float(nest.served[outer, operand]) if outer > 0 else 0.0
    if operand == O and problem.first_fill_counted == 0 and arriving > 0:
        arriving -= _distinct_outputs(problem, nest, outer)
    return arriving * nest.instances[outer]


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
    problem: Problem, nest: Nest, operand: int, outer: int, innermost: int, level: int
) -> float:
    """Energy to pass every element of the tile at ``level`` down to the innermost memory once."""
    elements = passing_elements(problem, nest, operand, outer, level)
    if operand == O:
        return _passing_outputs(nest, problem, outer, innermost, elements)
    energy = 0.0
    for memory in range(outer, innermost + 1):
        if problem.holder[memory, operand] == memory:
            if memory < innermost:
                energy += elements * problem.element_pj[memory, operand, READ]
            if memory > outer:
                energy += elements * problem.element_pj[memory, operand, FILL]
    return energy


@compiled
def passing_elements(problem: Problem, nest: Nest, operand: int, outer: int, level: int) -> float:
    """Elements that the holder ``outer`` exchanges at least with what lies inside ``level``."""
    if outer == level and level > 0:
        elements = float(nest.served[level, operand]) * nest.instances[outer]
    else:
        elements = float(moved_elements(problem, nest, operand, level))
        elements *= distinct_receivers(problem, nest, operand, outer, level)
        elements *= nest.instances[outer]
    if operand == I:
        elements *= touched_share(problem, nest.tile[level])
    return elements


@compiled
def _passing_outputs(
    nest: Nest, problem: Problem, outer: int, innermost: int, updates: float
) -> float:
    """Energy to pass outputs up: all but the finished ones are partial sums and are read again."""
    finished = passing_finished(problem, nest, outer, updates)
    energy = (updates - finished) * (problem.psum_pj[outer, READ] + problem.psum_pj[outer, UPDATE])
    for memory in range(outer, innermost):
        if problem.holder[memory, O] == memory:
            energy += finished * problem.element_pj[memory, O, UPDATE]
    return energy


@compiled
def passing_finished(problem: Problem, nest: Nest, outer: int, updates: float) -> float:
    """How many of the updates of ``outer`` can be the last of their element."""
    return min(updates, _distinct_outputs(problem, nest, outer) * nest.instances[outer])


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
    elements = serving_elements(problem, choices, nest, operand, innermost, level)
    if operand != O:
        return elements * problem.element_pj[innermost, operand, READ]
    finished = finished_serving(problem, choices, nest, level, elements)
    partial = elements - finished
    energy = partial * (problem.psum_pj[innermost, READ] + problem.psum_pj[innermost, UPDATE])
    return energy + finished * problem.element_pj[innermost, O, UPDATE]


@compiled
def serving_elements(
    problem: Problem, choices: Choices, nest: Nest, operand: int, innermost: int, level: int
) -> float:
    """Elements that all innermost memories exchange at least with the multiply-accumulates."""
    shared = _most_shared(problem, choices, nest, operand, innermost, level)
    for outer in range(innermost, level):
        for axis in range(1, 3):
            for dim in range(8):
                shared *= nest.factors[outer, axis, dim]
            shared /= distinct_along(problem, nest, operand, outer, axis)
    work = 1.0
    for dim in range(8):
        work *= problem.bounds[dim]
    return work / shared


@compiled
def _most_shared(
    problem: Problem, choices: Choices, nest: Nest, operand: int, innermost: int, level: int
) -> float:
    """Most multiply-accumulates that one element can serve at once, by loops inside ``level``.

    Along an axis n positions of outputs and m of taps together see at least the larger number of
    windows, so that an element of I serves at most the smaller.
    """
    total = 1.0
    for index in range(choices.axis_count):
        if choices.axes[index, 0] >= max(level, innermost):
            room = 1.0
            for dim in range(8):
                if choices.axis_dims[index, dim] and not problem.relevant[operand, dim]:
                    room *= nest.tile[level, dim]
            for outputs, taps in ((P, R), (Q, S)):
                both = choices.axis_dims[index, outputs] and choices.axis_dims[index, taps]
                if operand == I and both:
                    room *= min(nest.tile[level, outputs], nest.tile[level, taps])
            total *= min(room, float(choices.axes[index, 2]))
    return total


@compiled
def finished_serving(
    problem: Problem, choices: Choices, nest: Nest, level: int, elements: float
) -> float:
    """How many of the updates of the innermost memories can be the last of their element."""
    return min(elements, _all_outputs(problem, choices, nest, level))


@compiled
def _all_outputs(problem: Problem, choices: Choices, nest: Nest, level: int) -> float:
    """Most outputs that all instances of a memory inside can hold over the run, copies counted."""
    last = problem.holder[problem.levels - 1, O] - 1  # instances further in add up in one memory
    copies = most_parallel(choices, nest, level, last, problem.relevant[O])
    for outer in range(min(level, last + 1)):
        for dim in (C, R, S):
            copies *= nest.factors[outer, 1, dim] * nest.factors[outer, 2, dim]
    for dim in range(8):
        if problem.relevant[O, dim]:
            copies *= problem.bounds[dim]
    return copies
