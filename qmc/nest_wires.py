"""Energy of networks on flat arrays. Compiled; :mod:`qmc.cost_models.wires` has the rules."""

# mypy: disable-error-code="no-any-return"
# Fields of structured arrays have no static types.

from __future__ import annotations

from qmc.jit import compiled
from qmc.nest_geometry import distinct_along, distinct_outputs, distinct_receivers, reduced_in_space
from qmc.nest_records import Nest, O, Problem


@compiled
def network_energy(
    problem: Problem,
    nest: Nest,
    operand: int,
    outer: int,
    inner: int,
    element_bits: int,
    partial_bits: int,
) -> float:
    """Energy of the wires between two holders; see :mod:`qmc.cost_models.wires`."""
    energy = 0.0
    below = nest.served[inner, operand]  # per instance of the level whose wires are looked at
    for level in range(inner - 1, outer - 1, -1):
        distinct_x = distinct_along(problem, nest, operand, level, 1)
        distinct_y = distinct_along(problem, nest, operand, level, 2)
        if problem.bus[level] >= 0:
            bits = float(element_bits)
            if operand == O:
                bits = _output_bits(problem, nest, outer, inner, level, element_bits, partial_bits)
            bit_pj, receivers = _wires(problem, nest, level, distinct_x, distinct_y)
            round_pj = bits * bit_pj
            if operand == O:
                round_pj += (receivers - distinct_x * distinct_y) * problem.add_pj[level]
            energy += float(below) * nest.instances[level] * round_pj
        below *= distinct_x * distinct_y
    return energy


@compiled
def _wires(
    problem: Problem, nest: Nest, level: int, distinct_x: int, distinct_y: int
) -> tuple[float, int]:
    """Energy to hand a bit of every tile out below ``level``; the receivers."""
    used_x, used_y = 1, 1
    for dim in range(8):
        used_x *= nest.factors[level, 1, dim]
        used_y *= nest.factors[level, 2, dim]
    along_x = axis_hops(problem, level, 0, used_x, distinct_x) * problem.hop_pj[level, 0]
    along_y = axis_hops(problem, level, 1, used_y, distinct_y) * problem.hop_pj[level, 1]
    receivers = used_x * used_y
    energy = distinct_y * along_x + used_x * along_y + receivers * problem.receiver_pj[level]
    return energy, receivers


@compiled
def axis_hops(problem: Problem, level: int, axis: int, used: int, distinct: int) -> float:
    """Hops along x (0) or y (1) to hand out one element of each of ``distinct`` tiles."""
    size = problem.fan_out[level, axis]
    if size == 1:
        return 0.0
    if problem.bus[level] > 0:
        return float(size * distinct)
    return used * (distinct + 1) / 2


@compiled
def _output_bits(
    problem: Problem,
    nest: Nest,
    outer: int,
    inner: int,
    level: int,
    finished_bits: int,
    partial_bits: int,
) -> float:
    """Bits of O that cross the wires below ``level`` per update, both ways."""
    updates = nest.served[inner, O] * distinct_receivers(problem, nest, O, outer, inner)
    finished = distinct_outputs(problem, nest, outer)
    last_bits = partial_bits if reduced_in_space(nest, level + 1) else finished_bits
    return (2.0 * (updates - finished) * partial_bits + finished * last_bits) / updates
