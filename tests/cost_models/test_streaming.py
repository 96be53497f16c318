"""Layers without weights: read once, written once."""

from __future__ import annotations

import pytest

from qmc.cost_models.analytical import AnalyticalModel
from qmc.cost_models.streaming import input_elements, operations, streaming_cost
from qmc.layer import Layer, LoopBounds, Op, Operand, Precision
from qmc.mapping import Mapping
from qmc.targets import list_targets, load_target

BITS = Precision(8, 8, 4)
ADD = Layer("add", Op.ADD, ("a", "b"), "y", LoopBounds(G=6, P=5, Q=4))
POOL = Layer(
    "pool",
    Op.MAX_POOL,
    ("a",),
    "y",
    LoopBounds(G=6, P=3, Q=4, R=3, S=2),
    strides=(2, 1),
    pads=(1, 0, 0, 1),
)


def test_add_moves_both_inputs_and_the_output_once() -> None:
    target = load_target("eyeriss")
    cost = streaming_cost(ADD, BITS, target)
    main, buffer = cost.accesses["DRAM"], cost.accesses["shared_glb"]
    # 240 inputs of 8 bits, 120 outputs of 4 bits, in 16-bit words and rows of 4.
    assert (main[Operand.I].reads, main[Operand.I].fills) == (120, 0)
    assert (main[Operand.O].updates, main[Operand.O].reads) == (30, 0)
    assert (buffer[Operand.I].reads, buffer[Operand.I].fills) == (120, 120)
    assert (buffer[Operand.O].updates, buffer[Operand.O].reads) == (30, 30)
    assert cost.energy_by_memory_pj["DRAM"] == pytest.approx((30 + 8) * 512.0)
    assert cost.energy_by_memory_pj["shared_glb"] == pytest.approx(
        30 * (67.9377 + 68.7512) + 8 * (68.7512 + 67.9377)
    )
    assert cost.energy_by_memory_pj["mac"] == pytest.approx(3 * 120 * 2.20035)
    assert (cost.cycles, cost.bound) == (10, "shared_glb read bandwidth")  # 150 words, 16 a cycle


def test_pool_reads_its_input_without_padding() -> None:
    # height (3-1)*2+3 = 7 less 1 of padding, width (4-1)+2 = 5 less 1
    assert input_elements(POOL) == 6 * 6 * 4
    assert operations(POOL) == 6 * 3 * 4 * 6


@pytest.mark.parametrize("op", [op for op in Op if op not in (Op.CONV, Op.DENSE)])
@pytest.mark.parametrize("name", list_targets())
def test_every_operation_is_priced_on_every_machine(name: str, op: Op) -> None:
    layer = Layer("any", op, ("a", "b")[: 1 + (op in (Op.ADD, Op.MUL))], "y", LoopBounds(G=3, P=5))
    target = load_target(name)
    cost = AnalyticalModel().evaluate(layer, BITS, target, Mapping((), ()))
    parts = sum(cost.energy_by_memory_pj.values())
    assert cost.energy_pj == pytest.approx(parts)
    assert cost.energy_pj > 2 * target.memories[0].read_pj
    assert cost.cycles >= 1
    assert 0 <= cost.utilization <= 1


def test_fewer_bits_never_cost_more() -> None:
    target = load_target("simba")
    costs = [
        streaming_cost(POOL, Precision(8, bits, bits), target).energy_pj for bits in range(1, 17)
    ]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]
