"""Why each width was taken: what every other would save here, and cost in accuracy.

The *going rate* at a point of the front is the cost that its cheaper neighbour saves for each unit
of sensitivity. A width that saves less than that for what it loses is refused.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qmc.bit_front import Point
from qmc.bit_problem import SENSITIVITY
from qmc.bit_space import BitSpace
from qmc.layer import Operand
from qmc.search_result import Objective
from qmc.targets.target import MemoryLevel, Packing, Target

#: Savings below this share of the network's cost are none.
_NOTHING = 1e-9
_NOUNS = {Objective.ENERGY: "energy", Objective.LATENCY: "cycles", Objective.EDP: "EDP"}
_COUNTS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 8: "eight"}


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another width for one tensor, all others as they are.

    Attributes:
        bits: the other width.
        saving: of the network's cost, as a share; negative where it costs more.
        sensitivity: that it adds; negative where it takes away.
    """

    bits: int
    saving: float
    sensitivity: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """One width that was chosen.

    Attributes:
        name: of the layer whose weights it is, or of the group of activations.
        operand: W or I.
        bits: chosen.
        alternatives: every other width, narrowest last.
        text: one sentence.
    """

    name: str
    operand: Operand
    bits: int
    alternatives: tuple[Alternative, ...]
    text: str


def verdicts(
    space: BitSpace, target: Target, point: Point, front: Sequence[Point]
) -> list[Verdict]:
    """A verdict for the weights of every layer and for every free group of activations.

    Args:
        space: all assignments.
        target: the machine, for its words.
        point: that was chosen.
        front: the exact front, least sensitivity first.
    """
    words = _Words.of(space, target, going_rate(point, front), point.cost)
    found = []
    for operand, widths in (
        (Operand.W, point.assignment.weights),
        (Operand.I, point.assignment.activations),
    ):
        for name, bits in widths.items():
            others = _alternatives(space, point, operand, name)
            text = words.sentence(operand, bits, others)
            found.append(Verdict(name, operand, bits, tuple(others), text))
    return found


def going_rate(point: Point, front: Sequence[Point]) -> float:
    """Cost saved per unit of sensitivity between the point and the front's next cheaper one."""
    sensitivity = point.choice.totals[SENSITIVITY]
    for other in front:
        added = other.choice.totals[SENSITIVITY] - sensitivity
        if other.cost < point.cost * (1 - _NOTHING) and added > 0.0:
            return (point.cost - other.cost) / added
    return 0.0


def _alternatives(space: BitSpace, point: Point, operand: Operand, name: str) -> list[Alternative]:
    numbers = space.widths.weights if operand is Operand.W else space.widths.groups
    variable = numbers[name]
    found = []
    for option, bits in enumerate(space.widths.variables[variable].options):
        options = list(point.choice.options)
        if option == options[variable]:
            continue
        options[variable] = option
        other = space.at(options)
        if other.cost < float("inf"):
            added = other.choice.totals[SENSITIVITY] - point.choice.totals[SENSITIVITY]
            found.append(Alternative(bits, (point.cost - other.cost) / point.cost, added))
    return found


@dataclass(frozen=True, slots=True)
class _Words:
    """What sentences are made with.

    Attributes:
        target: the machine.
        rate: cost saved per unit of sensitivity by the front from here on.
        cost: of the point.
        noun: of the cost.
        unit: of sensitivities, with a space before it.
    """

    target: Target
    rate: float
    cost: float
    noun: str
    unit: str

    @classmethod
    def of(cls, space: BitSpace, target: Target, rate: float, cost: float) -> _Words:
        noun = "cost" if space.objective is None else _NOUNS[space.objective]
        return cls(target, rate, cost, noun, " nats" if space.in_nats else " of sensitivity")

    def sentence(self, operand: Operand, bits: int, others: Sequence[Alternative]) -> str:
        """What the width saves, which cost the same, and why it is no narrower."""
        parts = [self._taken(bits, others)]
        narrower = [other for other in others if other.bits < bits]
        same = [other.bits for other in narrower if abs(other.saving) < _NOTHING]
        saving = [other for other in narrower if other.saving >= _NOTHING]
        if same:
            parts.append(f"{_listed(same)} = {bits}-bit on this machine")
            parts[-1] += _why(self.target, operand, [bits, *same])
        if saving:
            parts.append(self._refused(saving[0]))
        elif narrower and not same:
            parts.append("narrower costs more here")
        return "; ".join(parts)

    def _taken(self, bits: int, others: Sequence[Alternative]) -> str:
        widest = others[0] if others and others[0].bits > bits else None
        if widest is None:
            return f"kept at {bits} bits"
        lost = self._lost(-widest.sensitivity)
        if abs(widest.saving) < _NOTHING:
            return f"{bits} bits cost what {widest.bits} do and {lost}"
        saved = f"{_percent(-widest.saving)} of the network's {self.noun}"
        return f"{bits} bits save {saved} against {widest.bits} and {lost}"

    def _lost(self, sensitivity: float) -> str:
        return f"{'lose' if sensitivity > 0 else 'gain'} {abs(sensitivity):.2g}{self.unit}"

    def _refused(self, other: Alternative) -> str:
        told = f"{other.bits} would save {_percent(other.saving)} more"
        if other.sensitivity <= 0.0:
            return f"{told} at no loss"  # only where a limit other than the cost holds it
        told += f" and {self._lost(other.sensitivity)}"
        own = other.saving * self.cost / other.sensitivity
        if self.rate and own < self.rate:
            return f"{told}: other layers give {_times(self.rate / own)} for that"
        return f"{told}: beyond what this plan may lose"


def _listed(widths: Sequence[int]) -> str:
    """``7- and 6-bit``."""
    *first, last = widths
    return f"{'-, '.join(map(str, first))}- and {last}-bit" if first else f"{last}-bit"


def _times(factor: float) -> str:
    if factor < 1.05:
        return "a little more"
    return f"{factor:.1f} times as much" if factor < 10 else f"{factor:.0f} times as much"


def _why(target: Target, operand: Operand, widths: Sequence[int]) -> str:
    """``: 16-bit words hold two of either`` where words explain it."""
    either = "either" if len(widths) == 2 else "any"
    for memory in target.memories:
        if operand in memory.bypass or memory.packing is not Packing.WORDS:
            continue
        held = {memory.word_bits // memory.stored_bits(operand, width) for width in widths}
        if len(held) == 1:
            count = held.pop()
            return f": {memory.word_bits}-bit words hold {_COUNTS.get(count, count)} of {either}"
    if all(_rigid(memory, operand, widths) for memory in target.memories):
        return f": no memory tells {either} apart"
    return ""


def _rigid(memory: MemoryLevel, operand: Operand, widths: Sequence[int]) -> bool:
    return len({memory.stored_bits(operand, width) for width in widths}) == 1


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def by_layer(space: BitSpace, found: Sequence[Verdict]) -> Mapping[str, str]:
    """What is said of each layer: its weights, then its output where that is free."""
    texts: dict[str, list[str]] = {}
    outputs = {v.name: v for v in found if v.operand is Operand.I}
    weights = {v.name: v for v in found if v.operand is Operand.W}
    for layer in space.network.layers:
        own = texts.setdefault(layer.name, [])
        if layer.name in weights:
            own.append(f"weights: {weights[layer.name].text}")
        group = space.widths.leaders[layer.output]
        if group.name in outputs:
            own.append(f"output: {outputs[group.name].text}")
    return {name: ". ".join(parts) for name, parts in texts.items() if parts}


def verdicts_csv(found: Sequence[Verdict]) -> str:
    """One line for each width that was chosen and each other that could have been."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("operand", "name", "bits", "other", "saving", "sensitivity", "verdict"))
    for verdict in found:
        operand = "W" if verdict.operand is Operand.W else "A"
        writer.writerow((operand, verdict.name, verdict.bits, "", "", "", verdict.text))
        for other in verdict.alternatives:
            figures = other.bits, f"{other.saving:.6g}", f"{other.sensitivity:.6g}"
            writer.writerow((operand, verdict.name, verdict.bits, *figures, ""))
    return text.getvalue()
