"""Which triples of widths cost the same on a machine, whatever the layer and the mapping.

Widths of an operand that every memory packs alike are one *class*. Triples of equal classes at
which a multiply-accumulate costs the same are one *problem*: every mapping has one cost for all.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from qmc.layer import Operand, Precision
from qmc.targets.target import MemoryLevel, Packing, Target

#: Bits of weights, inputs and outputs.
Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class WidthProblem:
    """One distinct problem.

    Attributes:
        classes: of W, I and O.
        mac_pj, mac_cycles: of one multiply-accumulate.
    """

    classes: tuple[int, int, int]
    mac_pj: float
    mac_cycles: float


@dataclass(frozen=True, slots=True)
class WidthClasses:
    """The distinct problems among triples of widths.

    Attributes:
        bits: a width of every class, by operand W, I, O.
        problems: each once. precisions: widths that stand for all of a problem.
        triples: number of the problem of every triple that the MACs execute.
        psum_bits: width of a partial sum; None stands for the output's.
    """

    bits: tuple[tuple[int, ...], ...]
    problems: tuple[WidthProblem, ...]
    precisions: tuple[Precision, ...]
    triples: Mapping[Triple, int]
    psum_bits: int | None

    def partial_bits(self, output_bits: int) -> int:
        """Width of a partial sum of an output of that width."""
        return output_bits if self.psum_bits is None else self.psum_bits


def width_classes(target: Target, psum_bits: int | None, widths: Sequence[int]) -> WidthClasses:
    """Group all triples of ``widths`` on ``target``."""
    index: list[dict[int, int]] = []
    bits: list[tuple[int, ...]] = []
    for operand in Operand:
        keys: dict[Hashable, int] = {}
        found = [_packing_key(target, operand, width, psum_bits or width) for width in widths]
        index.append(
            {w: keys.setdefault(key, len(keys)) for w, key in zip(widths, found, strict=True)}
        )
        bits.append(tuple(widths[found.index(key)] for key in keys))
    problems: dict[WidthProblem, int] = {}
    precisions: list[Precision] = []
    triples: dict[Triple, int] = {}
    for w, i, o in product(widths, repeat=3):
        if _executes(target, w, i):
            pj, cycles = target.mac.energy_at(w, i), target.mac.cycles_at(w, i)
            problem = WidthProblem((index[0][w], index[1][i], index[2][o]), pj, cycles)
            if problem not in problems:
                precisions.append(Precision(w, i, o, psum_bits or o))
            triples[w, i, o] = problems.setdefault(problem, len(problems))
    return WidthClasses(tuple(bits), tuple(problems), tuple(precisions), triples, psum_bits)


def _executes(target: Target, weight_bits: int, input_bits: int) -> bool:
    (low, high), (least, most) = target.mac.weight_bits, target.mac.input_bits
    return low <= weight_bits <= high and least <= input_bits <= most


def _packing_key(target: Target, operand: Operand, bits: int, partial: int) -> Hashable:
    """Equal for widths that no memory tells apart."""
    holders = [memory for memory in target.memories if operand not in memory.bypass]
    if operand is not Operand.O:
        partial = bits
    wired = any(memory.network is not None for memory in target.memories)
    stored = [(memory, memory.stored_bits(operand, bits)) for memory in holders]
    words = tuple(
        (
            packing_factors(memory, own),
            packing_factors(memory, memory.stored_bits(operand, partial)),
            own == memory.stored_bits(operand, partial),  # then rounded up together
        )
        for memory, own in stored
    )
    return words, (bits, partial) if wired else None  # wires carry bits, not words


def packing_factors(memory: MemoryLevel, bits: int) -> tuple[int, int, int]:
    """(times, of, by) of stored ``bits``: n elements take times * ceil(n * of / by) words."""
    word = memory.word_bits
    match memory.packing:
        case Packing.DENSE:
            return 1, bits, word
        case Packing.PLANES:
            return bits, 1, word
        case Packing.WORDS if bits <= word:
            return 1, 1, word // bits
        case _:
            return 1, -(-bits // word), 1
