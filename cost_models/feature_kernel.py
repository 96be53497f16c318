"""Features and cheap estimates of many mappings at once, compiled.

What each column means is in :mod:`qmc.cost_models.features`, which names them. Nothing here calls
the code that prices a mapping: the closed forms below leave out what the learned model has to learn
(what a loop order and sliding windows save, stalls at ports, leakage meanwhile, rounding).
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qmc.jit import compiled
from qmc.nest_geometry import (
    distinct_outputs,
    reduced_in_space,
    tile_elements,
    window_height,
    window_width,
)
from qmc.nest_kernel import packed_words, push_loops, shrink_tile
from qmc.nest_records import (
    DENSE,
    FILL,
    PLANES,
    READ,
    SINGLE,
    UPDATE,
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
)

#: Places of a memory in an operand's way to the MACs: the outermost, those between, the innermost.
MAIN, MIDDLE, INNER = range(3)
#: Columns: a number for every operand at every place (9 each), then single numbers.
SHARE, KEPT, SPREAD, REUSE, HELD, PER_WORD, PRESSURE = range(0, 63, 9)
OVERLAP, SINGLES = 63, 69
COUNT = SINGLES + 25
_SMALLEST = 1e-12

Rows = NDArray[np.float32]


@compiled
def words_per_element(problem: Problem, level: int, bits: int) -> float:
    """Words that one element takes in a long row of them."""
    word = problem.word_bits[level]
    packing = problem.packing[level]
    if packing == DENSE or packing == PLANES:
        return bits / word
    if packing == SINGLE or bits > word:
        return float((bits + word - 1) // word)
    return 1.0 / (word // bits)


@compiled
def build_nest(problem: Problem, nest: Nest, orders: Ints) -> None:
    """Tiles, loops and instances of a nest with its factors set."""
    for level in range(problem.levels):
        push_loops(nest, level, orders[level])
        shrink_tile(problem, nest, level)


@compiled
def fits(problem: Problem, nest: Nest) -> bool:
    """Whether the tiles of a built nest fit their memories; exact, as the cost model has it."""
    for level in range(problem.levels):
        if problem.depth[level] > 0:
            held = 0
            for operand in range(3):
                if problem.holder[level, operand] == level:
                    held += held_words(problem, nest, operand, level)
            if held > problem.depth[level]:
                return False
    return True


@compiled
def held_words(problem: Problem, nest: Nest, operand: int, level: int) -> int:
    """Words of the tile of an operand that a level keeps."""
    bits = problem.stored_bits[level, operand]
    if operand == O and _holds_partial(problem, nest, level):
        bits = problem.stored_bits[level, 3]
    return packed_words(problem, level, tile_elements(problem, operand, nest.tile[level]), bits)


@compiled
def _holds_partial(problem: Problem, nest: Nest, level: int) -> bool:
    """Whether sums are still open in the tiles of O that a level keeps.

    Loops further out add to them, or they come in from further inside more than once.
    """
    for outer in range(level):
        for axis in range(3):
            factors = nest.factors[outer, axis]
            if factors[C] * factors[R] * factors[S] > 1:
                return True
    inner = level + 1
    while problem.parent[inner, O] != level:
        inner += 1
    arriving = nest.steps[inner]
    if inner < problem.levels:
        arriving = int(arriving / _kept(problem, nest, O, inner))
        arriving *= tile_elements(problem, O, nest.tile[inner])
    arriving *= _receivers(problem, nest, O, level, inner)
    return arriving > distinct_outputs(problem, nest, level)


@compiled
def _kept(problem: Problem, nest: Nest, operand: int, level: int) -> float:
    """Steps of the loops right outside a level under which an operand's tile stays."""
    kept = 1.0
    for row in range(nest.loop_count[level] - 1, -1, -1):
        if problem.relevant[operand, nest.loops[row, 0]]:
            break
        kept *= nest.loops[row, 1]
    return kept


@compiled
def overlap(problem: Problem, nest: Nest, level: int, dim: int, reach: int) -> float:
    """Share of I's tile that stays when ``dim`` steps by ``reach``."""
    tile = nest.tile[level]
    if dim == P or dim == R:
        step = reach * problem.window[0 if dim == P else 1]
        return max(0.0, 1.0 - step / window_height(problem, tile))
    if dim == Q or dim == S:
        step = reach * problem.window[2 if dim == Q else 3]
        return max(0.0, 1.0 - step / window_width(problem, tile))
    return 0.0


@compiled
def _moved(problem: Problem, nest: Nest, operand: int, level: int) -> float:
    """Elements that reach one instance of a level if every step outside brings a tile."""
    if level == problem.levels:
        return float(nest.steps[level])
    return float(tile_elements(problem, operand, nest.tile[level])) * nest.steps[level]


@compiled
def _receivers(problem: Problem, nest: Nest, operand: int, outer: int, inner: int) -> int:
    """Instances of ``inner`` below one of ``outer`` that want different elements."""
    count = 1
    for level in range(outer, inner):
        for dim in range(8):
            if problem.relevant[operand, dim]:
                count *= nest.factors[level, 1, dim] * nest.factors[level, 2, dim]
    return count


@compiled
def traffic(
    problem: Problem, nest: Nest, operand: int, outer: int, inner: int, words: Floats
) -> None:
    """Average words that an instance of ``outer`` reads, fills, updates: into ``words`` (3,)."""
    served = _moved(problem, nest, operand, inner)
    served *= _receivers(problem, nest, operand, outer, inner)
    arriving = _moved(problem, nest, operand, outer)
    if problem.parent[outer, operand] < 0:
        arriving = 0.0
    wide = words_per_element(problem, outer, problem.stored_bits[outer, operand])
    if operand != O:
        words[READ], words[FILL], words[UPDATE] = served * wide, arriving * wide, 0.0
        return
    partial = words_per_element(problem, outer, problem.stored_bits[outer, 3])
    distinct = float(distinct_outputs(problem, nest, outer))
    final = 0.0 if reduced_in_space(nest, outer) else distinct
    words[READ] = max(0.0, served - distinct) * partial
    words[FILL] = max(0.0, arriving - distinct) * partial
    words[UPDATE] = max(0.0, served - final) * partial + final * wide


@compiled
def _place(problem: Problem, operand: int, level: int) -> int:
    """Where on an operand's way to the MACs a level lies."""
    if problem.parent[level, operand] < 0:
        return MAIN
    return INNER if problem.parent[problem.levels, operand] == level else MIDDLE


@compiled
def describe(problem: Problem, nest: Nest, row: Floats, estimate: Floats) -> bool:
    """Features and cheap estimate of a built nest; False when its tiles do not fit."""
    if not fits(problem, nest):
        return False
    row[:] = 0.0
    levels = problem.levels
    energy = np.zeros((3, 3))  # operand, place
    words = np.zeros(3)
    for operand in range(3):
        inner = levels
        while problem.parent[inner, operand] >= 0:
            outer = problem.parent[inner, operand]
            place = _place(problem, operand, outer)
            traffic(problem, nest, operand, outer, inner, words)
            picojoules = 0.0
            for action in range(3):
                picojoules += words[action] * problem.access_pj[outer, action]
            sharing = min(nest.instances[outer], problem.clusters[outer])
            energy[operand, place] += picojoules * sharing / problem.row_words[outer]
            _set_place(problem, nest, row, operand, place, outer, inner, words)
            inner = outer
    leakage = 0.0
    for level in range(levels + 1):
        leakage += problem.leakage_pj[level] * nest.instances[level]
    estimate[1] = max(1.0, nest.steps[levels] * problem.mac_cycles)
    estimate[0] = problem.mac_pj + energy.sum() + leakage * estimate[1]
    for operand in range(3):
        for place in range(3):
            row[SHARE + 3 * operand + place] = energy[operand, place] / estimate[0]
    row[SINGLES + 1] = leakage * estimate[1] / estimate[0]
    _set_layer(problem, nest, row, estimate)
    _set_machine(problem, row)
    return True


@compiled
def _set_place(
    problem: Problem,
    nest: Nest,
    row: Floats,
    operand: int,
    place: int,
    level: int,
    inner: int,
    words: Floats,
) -> None:
    """What is told of one operand in one memory; of several in between, the outermost."""
    column = 3 * operand + place
    moved = words[READ] + words[FILL] + words[UPDATE]
    macs = problem.bounds.astype(np.float64).prod() / nest.instances[level]
    per_element = words_per_element(problem, level, problem.stored_bits[level, operand])
    row[KEPT + column] = _log(_kept(problem, nest, operand, inner)) if inner < problem.levels else 0
    receivers = _receivers(problem, nest, operand, level, inner)
    row[SPREAD + column] = _log(nest.instances[inner] / nest.instances[level] / receivers)
    row[REUSE + column] = _log(macs * per_element / (moved + _SMALLEST))
    held = held_words(problem, nest, operand, level)
    row[HELD + column] = held / problem.depth[level] if problem.depth[level] > 0 else -1.0
    row[PER_WORD + column] = _log(1.0 / per_element)
    cycles = max(
        words[READ] / problem.bandwidth[level, 0],
        (words[FILL] + words[UPDATE]) / problem.bandwidth[level, 1],
    )
    row[PRESSURE + column] = cycles / (nest.steps[problem.levels] * problem.mac_cycles)
    if operand == I:
        row[OVERLAP + 2 * place] = _slide(problem, nest, inner)
        row[OVERLAP + 2 * place + 1] = _slide_steps(problem, nest, inner)


@compiled
def _set_layer(problem: Problem, nest: Nest, row: Floats, estimate: Floats) -> None:
    """Numbers of the whole mapping and of the layer at its widths."""
    levels = problem.levels
    macs = problem.bounds.astype(np.float64).prod()
    singles = row[SINGLES:]
    singles[0] = problem.mac_pj / estimate[0]
    singles[2] = _log(float(nest.instances[levels]))
    singles[3] = _log(macs / nest.instances[levels] / nest.steps[levels])
    singles[4] = _first_tiles(problem, nest)
    singles[5] = _unpack(problem, nest, W)
    singles[6] = _unpack(problem, nest, I)
    singles[7] = _diagonal(nest, levels)
    for width in range(4):
        singles[8 + width] = problem.bits[width]
    singles[12] = problem.mac_cycles
    singles[13] = _log(float(problem.window[0] * problem.window[2]))
    singles[14] = _log(float(problem.bounds[R] * problem.bounds[S]))
    singles[15] = _log(float(problem.bounds[G]))
    singles[16] = _log(macs)


@compiled
def _set_machine(problem: Problem, row: Floats) -> None:
    """The machine, seen from its MACs outward: energies of a bit relative to a MAC."""
    singles = row[SINGLES:]
    innermost = problem.parent[problem.levels]
    per_mac = problem.mac_pj / problem.bounds.astype(np.float64).prod() + _SMALLEST
    for operand in range(3):
        level = innermost[operand]
        bit_pj = problem.access_pj[level, UPDATE if operand == O else READ]
        bit_pj /= problem.row_words[level] * problem.word_bits[level]
        singles[17 + operand] = _log(bit_pj / per_mac + _SMALLEST)
        capacity = problem.depth[level] * problem.word_bits[level]
        singles[20 + operand] = _log(float(capacity)) if capacity > 0 else 40.0
    main_pj = problem.access_pj[0, READ] / (problem.row_words[0] * problem.word_bits[0])
    singles[23] = _log(main_pj / per_mac + _SMALLEST)
    singles[24] = float(problem.levels)


@compiled
def _unpack(problem: Problem, nest: Nest, operand: int) -> float:
    """Elements of an operand taken out of shared words for one multiply-accumulate."""
    level = problem.parent[problem.levels, operand]
    if words_per_element(problem, level, problem.stored_bits[level, operand]) >= 1.0:
        return 0.0
    receivers = _receivers(problem, nest, operand, level, problem.levels)
    return receivers * nest.instances[level] / nest.instances[problem.levels]


@compiled
def _first_tiles(problem: Problem, nest: Nest) -> float:
    """Fill and drain: bits of the first tile of every innermost memory over all that ever come."""
    first, ever = 0.0, 0.0
    for operand in range(3):
        level = problem.parent[problem.levels, operand]
        bits = float(problem.stored_bits[level, operand])
        tile = tile_elements(problem, operand, nest.tile[level]) * bits
        first += tile
        ever += tile * nest.steps[level] / _kept(problem, nest, operand, level)
    return first / ever


@compiled
def _slide(problem: Problem, nest: Nest, level: int) -> float:
    """How I's tile moves first: 0 not at all, 1 elsewhere, then down, right by the overlap."""
    for row in range(nest.loop_count[level] - 1, -1, -1):
        dim = nest.loops[row, 0]
        if dim == N or dim == G or dim == C:
            return 1.0
        if dim != K:
            side = 2.0 if dim == P or dim == R else 3.0
            return side + 0.99 * overlap(problem, nest, level, dim, nest.loops[row, 2])
    return 0.0


@compiled
def _slide_steps(problem: Problem, nest: Nest, level: int) -> float:
    """Extent of the first loop outside a level that moves I's tile, as a power of two."""
    for row in range(nest.loop_count[level] - 1, -1, -1):
        if nest.loops[row, 0] != K:
            return _log(float(nest.loops[row, 1]))
    return 0.0


@compiled
def _diagonal(nest: Nest, levels: int) -> float:
    """Instances whose windows start at the same place, as a power of two at most."""
    shared = 1.0
    for level in range(levels):
        for axis in range(1, 3):
            factors = nest.factors[level, axis]
            shared *= min(factors[P], factors[R]) * min(factors[Q], factors[S])
    return _log(shared)


@compiled
def _log(value: float) -> float:
    return math.log2(value) if value > 0.0 else -40.0


@compiled
def describe_all(problem: Problem, nest: Nest, factors: Ints, orders: Ints) -> tuple[Rows, Floats]:
    """Features and cheap estimates of many mappings of one problem.

    Args:
        problem: the layer on the machine.
        nest: scratch space.
        factors: (count, L, 3, 8).
        orders: (count, L, 8), innermost first.

    Returns:
        (count, :data:`COUNT`) float32 features; (count, 2) energy in pJ and cycles. NaN where the
        tiles do not fit.
    """
    count = factors.shape[0]
    rows = np.full((count, COUNT), np.nan, np.float32)
    estimates = np.full((count, 2), np.nan)
    row = np.zeros(COUNT)
    for index in range(count):
        nest.factors[: problem.levels] = factors[index]
        build_nest(problem, nest, orders[index])
        if describe(problem, nest, row, estimates[index]):
            rows[index] = row
    return rows, estimates
