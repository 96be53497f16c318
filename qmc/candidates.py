"""Candidates of the lattice search: spreads over the fan-outs with choices of what memories keep.

What a candidate must move at least, and what its arithmetic and ports take at least, is a sum over
operands, so it is known for all candidates at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from qmc.branch_and_bound import EDP, ENERGY
from qmc.chain_costs import Degrees, Way, port_units, stack_ways, unit_energies, way
from qmc.lattice import least_reuse, reduction_work
from qmc.layer import Operand
from qmc.mapspace import MapSpace
from qmc.nest_arrays import words_per_element
from qmc.nest_bounds import TIE
from qmc.nest_records import Floats, Ints, O, Problem
from qmc.spatial_choices import Spread, together

_OPERANDS = tuple(Operand)
#: Cycles that no mapping takes; a candidate without any mapping takes infinitely many.
FOREVER = 1e30


@dataclass(frozen=True, slots=True)
class Currency:
    """What candidates cost in one unit: energy, or cycles of one port.

    Attributes:
        ways: by operand, for all sets of holders.
        least: by operand, (holders, spreads) lower bounds.
        port: memory, and 0 for its read port, 1 for its write port; None for energy.
    """

    ways: tuple[Way, ...]
    least: tuple[Floats, ...]
    port: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """All spreads and keep choices of a map space.

    Attributes:
        objective: as in :mod:`qmc.branch_and_bound`.
        levels: spreads over each fan-out. picked: (spreads, levels) one of each.
        degrees: of the picked spreads.
        cycles: (spreads,) of the arithmetic. idle: (spreads,) leakage per cycle.
        mac_pj: energy of all multiply-accumulates.
        holders: by operand, the different sets of levels that keep it.
        held: (3, keep choices) which of them a keep choice has.
        kept: by operand, (holders, levels) whether a level keeps it.
        partial: (holders of O, spreads) whether the innermost one holds partial sums.
        energy, ports: the currencies.
    """

    objective: int
    levels: tuple[tuple[Spread, ...], ...]
    picked: Ints
    degrees: Degrees
    cycles: Floats
    idle: Floats
    mac_pj: float
    holders: tuple[tuple[tuple[int, ...], ...], ...]
    held: Ints
    kept: tuple[Ints, ...]
    partial: Ints
    energy: Currency
    ports: tuple[Currency, ...]

    def keys(
        self, spread: int | Ints, energy: Floats | float, cycles: Floats
    ) -> tuple[Floats, Floats]:
        """Objective, and what decides among equals, of energy (MACs and leakage aside), cycles."""
        whole = energy + self.mac_pj + self.idle[spread] * np.minimum(cycles, FOREVER)
        if self.objective == EDP:
            return whole * cycles, cycles
        if self.objective == ENERGY:
            return whole, cycles
        return np.where(np.isfinite(whole), cycles, np.inf), whole

    def floors(self) -> tuple[Floats, Floats]:
        """(spreads,) lower bounds of both keys over all keep choices."""
        cycles = self.cycles
        for port in self.ports:
            busy = sum(least.min(axis=0) for least in port.least)
            cycles = np.maximum(cycles, np.ceil(busy * (1 - 4 * TIE)))
        energy = sum(least.min(axis=0) for least in self.energy.least)
        return self.keys(np.arange(len(cycles)), np.asarray(energy), cycles)

    def keep_floors(self, spread: int) -> tuple[Floats, Floats]:
        """(keep choices,) lower bounds of both keys of one spread."""

        def total(currency: Currency) -> Floats:
            w, i, o = (currency.least[x][self.held[x], spread] for x in range(3))
            whole: Floats = w + i + o
            return whole

        cycles = np.full(self.held.shape[1], self.cycles[spread])
        for port in self.ports:
            cycles = np.maximum(cycles, np.ceil(total(port) * (1 - 4 * TIE)))
        return self.keys(spread, total(self.energy), cycles)


def candidates(
    space: MapSpace,
    levels: tuple[tuple[Spread, ...], ...],
    problem: Problem,
    objective: int,
) -> Candidates:
    """All candidates of a map space.

    Args:
        space: the layer on the machine.
        levels: spreads over each fan-out.
        problem: the same as arrays; its keep choice does not matter.
        objective: as in :mod:`qmc.branch_and_bound`.
    """
    memories = space.target.memories
    count = len(memories)
    picked = together(levels, space.bounds)
    degrees = _degrees(levels, picked)
    work = float(np.prod(np.array(space.bounds, np.float64)))
    used = np.cumprod(np.pad(degrees.instances, ((0, 0), (1, 0)), constant_values=1.0), axis=1)
    kept = [
        [
            tuple(at for at, level in enumerate(keep) if operand in level.operands)
            for keep in space.keeps
        ]
        for operand in _OPERANDS
    ]
    holders = tuple(tuple(sorted(set(sets))) for sets in kept)
    held = np.array([[holders[x].index(each) for each in kept[x]] for x in range(3)])

    least = least_reuse(space.bounds, problem)

    def currency(units: tuple[Floats, Floats], port: tuple[int, int] | None) -> Currency:
        ways = []
        for x, sets in enumerate(holders):
            ways.append(stack_ways([way(problem, s, x, degrees, units, least[x]) for s in sets]))
        return Currency(tuple(ways), tuple(each.least for each in ways), port)

    stored = problem["stored_bits"][:count].tolist()
    packed = np.array(
        [
            [words_per_element(memory, bits) for bits in widths]
            for memory, widths in zip(memories, stored, strict=True)
        ]
    )
    limited = zip(*np.nonzero(np.isfinite(problem["bandwidth"][:count])), strict=True)
    return Candidates(
        objective=objective,
        levels=levels,
        picked=picked,
        degrees=degrees,
        cycles=np.ceil(work / degrees.parallel * problem["mac_cycles"] * (1 - TIE)),
        idle=used @ problem["leakage_pj"][: count + 1],
        mac_pj=float(problem["mac_pj"]),
        holders=holders,
        held=held,
        kept=tuple(
            np.array([[at in each for at in range(count)] for each in sets], np.int64)
            for sets in holders
        ),
        partial=np.array(
            [
                reduction_work(space.bounds) > degrees.shared[:, each[-1] :, O].prod(axis=1)
                for each in holders[O]
            ]
        ),
        energy=currency(unit_energies(problem, memories, degrees), None),
        ports=tuple(
            currency(port_units(problem, degrees, int(at), int(port), packed), (int(at), int(port)))
            for at, port in limited
        ),
    )


def _degrees(levels: tuple[tuple[Spread, ...], ...], picked: Ints) -> Degrees:
    def table(of: Callable[[Spread], object]) -> Floats:
        columns = [
            np.array([of(spread) for spread in found], np.float64)[picked[:, at]]
            for at, found in enumerate(levels)
        ]
        return np.stack(columns, axis=1)

    shared = table(lambda spread: spread.shared)
    copies = shared.copy()
    copies[:, :, 1] = table(lambda spread: spread.copies)
    return Degrees(shared, copies, table(lambda spread: spread.instances))
