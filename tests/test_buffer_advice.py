"""Advice on memory sizes against searches at every size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qmc.buffer_advice import buffer_advice
from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.schedule import schedule_network
from qmc.search import objective_value
from qmc.search_result import Objective
from qmc.targets import Target, load_target

RULES = AnalyticalModel()
LAYERS = [
    Layer("a", Op.CONV, ("x",), "y", LoopBounds(K=4, C=6, P=5, Q=3, R=3, S=1)),
    Layer("b", Op.CONV, ("y",), "z", LoopBounds(G=6, P=4, Q=2, R=3, S=3)),
]


def resized(target: Target, index: int, words: int) -> Target:
    memories = list(target.memories)
    memories[index] = replace(memories[index], depth_words=words)
    return replace(target, memories=tuple(memories))


def cost_at(target: Target) -> float | None:
    try:
        work = [(layer, Precision(4, 8, 8, target.psum_bits)) for layer in LAYERS]
        found = schedule_network(work, target, RULES, Objective.ENERGY)
    except NoMappingError:
        return None
    return sum(objective_value(one.cost, Objective.ENERGY) for one in found.values())


def test_smallest_size_keeps_the_cost_and_one_word_less_does_not() -> None:
    target = load_target("eyeriss")
    work = [(layer, Precision(4, 8, 8, target.psum_bits)) for layer in LAYERS]
    found = schedule_network(work, target, RULES, Objective.ENERGY)
    mapped = [(layer, precision, found[layer.name]) for layer, precision in work]
    before = cost_at(target)
    assert before is not None
    for advice in buffer_advice(mapped, target, RULES, Objective.ENERGY):
        index = [memory.name for memory in target.memories].index(advice.memory)
        bits = target.memories[index].word_bits
        words = advice.smallest_bytes * 8 // bits
        assert advice.smallest_bytes <= advice.used_bytes <= advice.size_bytes
        assert cost_at(resized(target, index, words)) == pytest.approx(before)
        if words > 1:
            less = cost_at(resized(target, index, words - 1))
            assert less is None or less > before * (1 + 1e-12)
        assert (
            advice.power_of_two_bytes * 8 // bits >= words > advice.power_of_two_bytes * 4 // bits
        )
        if advice.half is not None:
            half = cost_at(resized(target, index, advice.power_of_two_bytes * 4 // bits))
            assert half == pytest.approx(before * (1 + advice.half))
        assert advice.double <= 0.0
