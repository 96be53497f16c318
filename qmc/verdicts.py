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
from qmc.targets.target import MemoryLevel, Packing, Target

#: Savings below this share of the network's cost are none.
_NOTHING = 1e-9


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
    rate = going_rate(point, front)
    found = []
    for operand, widths in (
        (Operand.W, point.assignment.weights),
        (Operand.I, point.assignment.activations),
    ):
        for name, bits in widths.items():
            others = _alternatives(space, point, operand, name)
            text = _text(target, operand, bits, others, rate, point.cost)
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


def _text(
    target: Target,
    operand: Operand,
    bits: int,
    others: Sequence[Alternative],
    rate: float,
    cost: float,
) -> str:
    """One sentence: what the width saved, and why it is no narrower."""
    parts = [_taken(bits, others)]
    narrower = [other for other in others if other.bits < bits]
    same = [other for other in narrower if abs(other.saving) < _NOTHING]
    if same:
        equal = ", ".join(f"{other.bits}" for other in same)
        parts.append(
            f"{equal} bits cost the same as {bits} here{_why(target, operand, bits, same)}"
        )
    saving = [other for other in narrower if other.saving >= _NOTHING]
    if saving:
        parts.append(_refused(saving[0], rate, cost))
    elif narrower and not same:
        parts.append("narrower costs more here")
    return "; ".join(part for part in parts if part)


def _taken(bits: int, others: Sequence[Alternative]) -> str:
    widest = others[0] if others and others[0].bits > bits else None
    if widest is None:
        return f"kept at {bits} bits"
    return (
        f"{bits} bits save {_percent(-widest.saving)} of the network against {widest.bits} "
        f"for {-widest.sensitivity:.2g} of sensitivity"
    )


def _refused(other: Alternative, rate: float, cost: float) -> str:
    told = f"{other.bits} would save {_percent(other.saving)} more"
    if other.sensitivity <= 0.0:
        return f"{told} at no loss"  # only where a limit other than the cost holds it
    own = other.saving * cost / other.sensitivity
    reason = f"{told} for {other.sensitivity:.2g}"
    if rate and own < rate:
        return f"{reason}: other layers give {rate / own:.1f} times as much for that"
    return f"{reason}: beyond what this plan may lose"


def _why(target: Target, operand: Operand, bits: int, same: Sequence[Alternative]) -> str:
    """``: 16-bit words hold 2 of either`` where words explain it."""
    widths = [bits, *(other.bits for other in same)]
    for memory in target.memories:
        if operand in memory.bypass or memory.packing is not Packing.WORDS:
            continue
        held = {memory.word_bits // memory.stored_bits(operand, width) for width in widths}
        if len(held) == 1:
            return f": {memory.word_bits}-bit words hold {held.pop()} of {_either(widths)}"
    if all(_rigid(memory, operand, widths) for memory in target.memories):
        return f": no memory tells {_either(widths)} apart"
    return ""


def _rigid(memory: MemoryLevel, operand: Operand, widths: Sequence[int]) -> bool:
    return len({memory.stored_bits(operand, width) for width in widths}) == 1


def _either(widths: Sequence[int]) -> str:
    return "either" if len(widths) == 2 else "any"


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
