"""What a descent keeps, and what is still to come costs at least. Compiled.

The loops of outer memories are priced exactly; what the inner ones cost at least is looked up in
the tables of :mod:`qmc.relaxation`.
"""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from qmc.branch_and_bound import EDP, LATENCY, State
from qmc.jit import compiled
from qmc.nest_bounds import TIE, Choices, filled_elements
from qmc.nest_kernel import MAX_LEVELS, Floats, I, Ints, K, Nest, Problem, port_cycles
from qmc.sliding import ALL_K, NO_K, SOME_K

#: Most currencies: energy, and cycles of ports.
CURRENCIES = 8
#: The first one; no literal, for which functions would be compiled once more.
ENERGY_FIRST: Any = np.int64(0)
#: What a descent needs of its keep choice and spread. Fields:
#: Costs by currency: energy first, then the cycles of ports (``ports``: memory, read or write).
#: pays: by level and operand, cost of an arriving element whose run ends in the loops of the level.
#: fills: by level and operand, cost to fill one element into a memory.
#: later: by level, constant cost of what inner memories exchange.
#: idle: leakage per cycle. compute: cycles of the arithmetic.
#: ways: the ways to spread below level l are ways[l] to ways[l + 1].
PLAN = np.dtype(
    [
        ("pays", np.float64, (CURRENCIES, MAX_LEVELS, 3)),
        ("fills", np.float64, (CURRENCIES, MAX_LEVELS, 3)),
        ("later", np.float64, (CURRENCIES, MAX_LEVELS + 1)),
        ("ports", np.int64, (CURRENCIES, 2)),
        ("port_count", np.int64),
        ("idle", np.float64),
        ("compute", np.float64),
        ("ways", np.int64, (MAX_LEVELS + 1,)),
    ],
    align=True,
)

#: Where a descent stands at every level. Fields:
#: begun: 0 before the first step.
#: tile: digits of the tile of a level. counter: of the divisors of the tile, by dim.
#: block: digits of the tile below the loops in time. way, order: current choices; -1 before.
#: cycles: that no mapping from here takes less than.
#: room: largest cost of the inner loops that can still win. ends: cost of an operand whose run goes
#: on to the loops outside, 0 for none. case: row of ``inputs`` then.
PLACE = np.dtype(
    [
        ("begun", np.int64),
        ("tile", np.int64, (MAX_LEVELS + 1, 8)),
        ("counter", np.int64, (MAX_LEVELS, 8)),
        ("block", np.int64, (MAX_LEVELS, 8)),
        ("way", np.int64, (MAX_LEVELS,)),
        ("order", np.int64, (MAX_LEVELS,)),
        ("room", np.float64, (MAX_LEVELS,)),
        ("cycles", np.float64, (MAX_LEVELS,)),
        ("ends", np.float64, (MAX_LEVELS, 4)),
        ("case", np.int64, (MAX_LEVELS,)),
    ],
    align=True,
)

#: One element of a structured array.
Plan = Any
Place = Any


class Tiles(NamedTuple):
    """The lattice of tiles and what the relaxed problem costs on it.

    Attributes:
        subs, sub_counts, stride, radix: see :class:`qmc.lattice.Lattice`.
        reuse: (3, nodes) elements of W and O that arrive per multiply-accumulate.
        inputs: (levels, 3, nodes) those of I, per extent of K, by case of :mod:`qmc.sliding`.
        factors: (ways, 2, 8) extents along x and y of every way to spread.
        before, after: (currencies, levels, 4, nodes) see :class:`qmc.relaxation.Tables`.
    """

    subs: Ints
    sub_counts: Ints
    stride: Ints
    radix: Ints
    reuse: Floats
    inputs: Floats
    factors: Ints
    before: Floats
    after: Floats


class Descent(NamedTuple):
    """One descent: ``problem`` to ``state`` as in :mod:`qmc.branch_and_bound`, and the above.

    ``state.depth`` is the level it stands at.
    """

    problem: Problem
    choices: Choices
    nest: Nest
    state: State
    objective: int
    plan: Plan
    place: Place
    tiles: Tiles


@compiled
def node_of(d: Descent, level: int) -> int:
    """Number of the tile of a level."""
    node = 0
    for dim in range(8):
        node += d.tiles.stride[dim] * d.place.tile[level, dim]
    return node


@compiled
def cycles_left(d: Descent, level: int, node: int) -> float:
    """Cycles of the arithmetic and of every port, what is still to be moved included."""
    cycles = max(d.plan.compute, float(port_cycles(d.problem, d.nest, level)))
    for index in range(d.plan.port_count):
        lane = index + 1
        memory, port = d.plan.ports[index, 0], d.plan.ports[index, 1]
        busy = known_cost(d, level, lane) + least_rest(d, level, node, lane)
        if memory < level:
            words = d.nest.port_words[level, memory, port]
            busy += words / d.problem.bandwidth[memory, port]
        cycles = max(cycles, np.ceil(busy * (1 - 4 * TIE)))
    return cycles


@compiled
def least_rest(d: Descent, level: int, node: int, lane: int) -> float:
    """Least cost of the loops from ``level`` inwards, constants aside."""
    after = d.tiles.after[lane, level]
    rest = after[0, node]
    for operand in range(3):
        if after[operand + 1, node] < rest:
            run = open_run(d.problem, d.nest, operand, level)
            arriving = d.tiles.reuse[operand, node] / run
            if operand == I:
                arriving *= d.tiles.inputs[level, channel_case(d, level, run), node]
            ends = d.plan.pays[lane, level, operand] * arriving
            rest = min(rest, after[operand + 1, node] + ends)
    return rest


@compiled
def open_run(problem: Problem, nest: Nest, operand: int, level: int) -> float:
    """Steps of the innermost loops outside ``level`` under which a tile of the operand stays."""
    run = 1.0
    for row in range(nest.loop_count[level] - 1, -1, -1):
        if problem.relevant[operand, nest.loops[row, 0]]:
            break
        run *= nest.loops[row, 1]
    return run


@compiled
def channel_case(d: Descent, level: int, run: float) -> int:
    """How much of K a tile of I stays for if its run takes all of the tile's K and ``run`` more."""
    stays = d.nest.tile[level, K] * run
    if stays == 1:
        return NO_K
    return ALL_K if stays == d.nest.tile[0, K] else SOME_K


@compiled
def room_left(d: Descent, level: int) -> float:
    """Most that the loops from ``level`` inwards may cost for the mapping to be the best."""
    cycles, best = d.place.cycles[level], d.state.best
    known = (
        d.nest.energy[level]
        + d.problem.mac_pj
        + known_cost(d, level, ENERGY_FIRST)
        + d.plan.idle * cycles
    )
    if cycles > d.state.most_cycles:
        return -np.inf
    if d.objective != LATENCY:
        slack = 1 + 2 * TIE if cycles < best[1] else 1.0
        limit = best[0] * slack
        return (limit / cycles if d.objective == EDP else limit) - known
    if cycles > best[0]:
        return -np.inf
    return best[1] - known if cycles == best[0] else np.inf


@compiled
def known_cost(d: Descent, level: int, lane: int) -> float:
    """What is certain of the exchanges not yet priced when the loops outside are chosen.

    The memories that hold the tile are filled, and constants.
    """
    known = d.plan.later[lane, level]
    for operand in range(3):
        outer = d.problem.holder[level, operand]
        if outer > 0 and d.plan.fills[lane, outer, operand] > 0:
            filled = filled_elements(d.problem, d.nest, operand, outer)
            known += filled * d.plan.fills[lane, outer, operand]
    return known
