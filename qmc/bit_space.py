"""All assignments of widths of one network on one machine, as points of cost and loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from qmc.bit_choice import Limits, Solution, Solver
from qmc.bit_costs import LayerCosts, WidthVariables, bit_problem, width_variables
from qmc.bit_front import Point
from qmc.bit_groups import SEARCH_WIDTHS, Assignment, uniform
from qmc.bit_problem import CYCLES, ENERGY, FLASH, SENSITIVITY, Choice, evaluate
from qmc.errors import QmcError
from qmc.network import Network
from qmc.search_result import Objective
from qmc.sensitivity import Sensitivities, Source
from qmc.targets import Target

#: The metric of costs that somebody measured.
MEASURED_COST = "cost"
#: Divergences of more nats than this leave nothing of a network's answers.
_USELESS_DIVERGENCE = 1.0
_DIVERGENCES = frozenset({Source.KL, Source.LOSS, Source.SECOND_ORDER})


@dataclass(frozen=True, slots=True, eq=False)
class BitSpace:
    """What assignments are made of and judged by.

    Attributes:
        network: float layers.
        widths: the variables.
        solver: of the exact questions.
        objective: what a point's cost is.
        weights: the additive stand-in for that cost.
        sensitivities: what widths cost in accuracy.
    """

    network: Network
    widths: WidthVariables
    solver: Solver
    objective: Objective | None
    weights: Mapping[str, float]
    sensitivities: Sensitivities

    def point(self, choice: Choice) -> Point:
        """A choice as a point."""
        assignment = self.widths.assignment(choice.options)
        bits = set(assignment.weights.values()), set(assignment.activations.values())
        name = "mixed"
        if all(len(found) <= 1 for found in bits):
            w, a = (next(iter(found), 8) for found in bits)
            name = f"w{w}a{a}"
        return Point(name, assignment, choice, self.cost(choice))

    def cost(self, choice: Choice) -> float:
        """Energy in pJ, cycles, their product, or what was measured."""
        totals = choice.totals
        match self.objective:
            case None:
                return totals[MEASURED_COST]
            case Objective.ENERGY:
                return totals[ENERGY]
            case Objective.LATENCY:
                return totals[CYCLES]
            case Objective.EDP:
                return totals[ENERGY] * totals[CYCLES]

    def judge(self, assignment: Assignment) -> Point:
        """An assignment as a point; its cost is infinite where the machine cannot do it."""
        return self.at(self.widths.options(assignment))

    def at(self, options: Sequence[int]) -> Point:
        """A choice of options as a point."""
        return self.point(evaluate(self.solver.problem, options))

    def uniforms(self) -> list[Point]:
        """Every uniform assignment that the machine can do, widest first."""
        found = []
        for w, a in product(reversed(SEARCH_WIDTHS), repeat=2):
            try:
                point = self.judge(uniform(self.network, w, a))
            except ValueError:  # weights that came quantized cannot be wider
                continue
            if point.cost < float("inf") and point.is_uniform:
                found.append(point)
        return found

    def front(self, points: int = 256) -> list[Point]:
        """The corners of the exact front's lower hull, least sensitivity first."""
        return [self.point(c) for c in self.solver.front(SENSITIVITY, self.weights, points)]

    @property
    def in_nats(self) -> bool:
        """Whether sensitivities are divergences of the network's answers."""
        return self.sensitivities.source in _DIVERGENCES

    def useful(self, points: Sequence[Point]) -> list[Point]:
        """Those whose sensitivity leaves something of the network."""
        if not self.in_nats:
            return list(points)
        limit = _USELESS_DIVERGENCE
        return [p for p in points if p.choice.totals[SENSITIVITY] <= limit] or list(points[:1])

    def cheapest(self, sensitivity: float, limits: Limits) -> Solution | None:
        """The least cost at no more than a sensitivity, under limits."""
        totals = {**limits.totals, SENSITIVITY: sensitivity}
        return self.solver.best(self.weights, Limits(totals, limits.peak))

    def least_sensitive(self, limits: Limits) -> Point:
        """The assignment of least sensitivity under limits.

        Raises:
            QmcError: nothing meets them; says how low each of them could be alone.
        """
        found = self.solver.best({SENSITIVITY: 1.0}, limits)
        if found is None:
            raise QmcError(_unreachable(self.solver, limits))
        return self.point(found.choice)

    def limited_front(self, limits: Limits, points: Sequence[Point]) -> list[Point]:
        """The cheapest under limits at each sensitivity of ``points`` that can be reached."""
        first = self.least_sensitive(limits)
        found = [first]
        for point in points:
            sensitivity = point.choice.totals[SENSITIVITY]
            if sensitivity > first.choice.totals[SENSITIVITY]:
                best = self.cheapest(sensitivity, limits)
                if best is not None and self.cost(best.choice) < found[-1].cost:
                    found.append(self.point(best.choice))
        return found


def make_space(
    network: Network,
    target: Target,
    costs: Mapping[str, LayerCosts],
    sensitivities: Sensitivities,
    objective: Objective | None,
) -> BitSpace:
    """Put costs and sensitivities together; without an objective the costs were measured.

    Raises:
        NoMappingError: a layer fits no mapping at any width.
    """
    widths = width_variables(network)
    metric = MEASURED_COST if objective is None else ENERGY
    problem = bit_problem(network, target, widths, costs, sensitivities, metric)
    solver = Solver(problem)
    if objective is Objective.EDP:
        # The logarithm of a product is nearly the sum of relative changes.
        wide = evaluate(problem, [0] * len(widths.variables)).totals
        weights = {ENERGY: 1.0 / wide[ENERGY], CYCLES: 1.0 / wide[CYCLES]}
    else:
        weights = {CYCLES if objective is Objective.LATENCY else metric: 1.0}
    return BitSpace(network, widths, solver, objective, weights, sensitivities)


def _unreachable(solver: Solver, limits: Limits) -> str:
    """Which limit is too low, and what it could be."""
    flags = {FLASH: ("--flash", "bytes"), CYCLES: ("--max-latency", "cycles")}
    for metric, limit in limits.totals.items():
        least = solver.least({metric: 1.0})
        if least is not None and least.proof.value > limit:
            flag, unit = flags.get(metric, (metric, ""))
            reached = f"{least.proof.value:g} {unit}"
            return f"{flag}: found {limit:g}; the least that any widths reach is {reached}"
    if limits.peak is not None:
        narrow = solver.best({SENSITIVITY: 1.0}, Limits({}, limits.peak))
        if narrow is None:
            return (
                f"--ram: found {limits.peak:g} bytes; no widths bring the live tensors below that"
            )
    return "limits: no widths meet all of them together; allowed: larger limits"
