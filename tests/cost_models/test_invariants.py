"""What must hold for any mapping, whatever the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.cost_models.analytical import AnalyticalModel, PsumRule
from qmc.cost_models.base import Cost
from qmc.cost_models.traffic import FirstFill
from qmc.layer import Layer, LoopBounds, LoopDim, Operand, Precision
from qmc.mapping import Mapping
from qmc.targets.target import Packing
from tests.cost_models.machines import machine, memory
from tests.cost_models.test_walker import LEVELS, layers, mappings

PACKED = machine(
    *(
        memory(name, fanout_x=64, fanout_y=64, packing=packing, row_words=row, read_bandwidth=2.0)
        for name, packing, row in zip(
            LEVELS, (Packing.DENSE, Packing.WORDS, Packing.SINGLE), (4, 2, 1), strict=True
        )
    )
)
TRANSPOSED = {
    LoopDim.P: LoopDim.Q,
    LoopDim.Q: LoopDim.P,
    LoopDim.R: LoopDim.S,
    LoopDim.S: LoopDim.R,
}


def evaluate(layer: Layer, bits: Precision, mapping: Mapping, model: AnalyticalModel) -> Cost:
    return model.evaluate(layer, bits, PACKED, mapping)


def transposed(layer: Layer, mapping: Mapping) -> tuple[Layer, Mapping]:
    extents = {TRANSPOSED.get(dim, dim).value: layer.bounds[dim] for dim in LoopDim}
    turned = replace(
        layer,
        bounds=LoopBounds(**extents),
        strides=layer.strides[::-1],
        dilations=layer.dilations[::-1],
    )
    loops = tuple(replace(loop, dim=TRANSPOSED.get(loop.dim, loop.dim)) for loop in mapping.loops)
    return turned, replace(mapping, loops=loops)


@settings(max_examples=60)
@given(st.data())
def test_height_and_width_are_alike(data: st.DataObject) -> None:
    layer = data.draw(layers())
    mapping = data.draw(mappings(layer))
    bits = Precision(3, 5, 6, 20)
    straight = evaluate(layer, bits, mapping, AnalyticalModel())
    turned, turned_mapping = transposed(layer, mapping)
    assert evaluate(turned, bits, turned_mapping, AnalyticalModel()) == straight


@settings(max_examples=60)
@given(st.data())
def test_narrower_operands_never_cost_more(data: st.DataObject) -> None:
    layer = data.draw(layers())
    mapping = data.draw(mappings(layer))
    model = AnalyticalModel(data.draw(st.sampled_from(FirstFill)))
    wide = Precision(*(data.draw(st.integers(2, 16)) for _ in range(3)), 32)
    narrow = Precision(wide.weight_bits - 1, wide.input_bits - 1, wide.output_bits - 1, 31)
    before, after = (evaluate(layer, bits, mapping, model) for bits in (wide, narrow))
    assert after.energy_pj <= before.energy_pj
    assert after.cycles <= before.cycles


@settings(max_examples=60)
@given(st.data())
def test_parts_add_up_and_rules_are_ordered(data: st.DataObject) -> None:
    layer = data.draw(layers())
    mapping = data.draw(mappings(layer))
    bits = Precision(4, 8, 8, 32)
    honest = evaluate(layer, bits, mapping, AnalyticalModel())
    counted = evaluate(layer, bits, mapping, AnalyticalModel(FirstFill.COUNTED))
    output = evaluate(layer, bits, mapping, AnalyticalModel(psum=PsumRule.OUTPUT))
    assert honest.energy_pj == pytest.approx(sum(honest.energy_by_memory_pj.values()))
    assert output.energy_pj <= honest.energy_pj <= counted.energy_pj
    bounds = layer.bounds
    weights = bounds.G * bounds.K * bounds.C * bounds.R * bounds.S
    outputs = bounds.N * bounds.G * bounds.K * bounds.P * bounds.Q
    # Everything is moved at least once: 4 and 8 bits in dense words of 16.
    assert honest.accesses["outer"][Operand.W].reads >= weights / 4
    assert honest.accesses["outer"][Operand.O].updates >= outputs / 2
