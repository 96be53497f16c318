"""The closed form equals a literal walk over tiny nests, for every operand and memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.cost_models.nest import build_nest
from qmc.cost_models.traffic import FirstFill, operand_traffic
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand
from qmc.mapping import Keep, Loop, Mapping
from tests.cost_models.machines import machine, memory
from tests.cost_models.walker import walk

LEVELS = ("outer", "middle", "inner")
MACHINE = machine(*(memory(name, fanout_x=64, fanout_y=64) for name in LEVELS))


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    sizes = {}
    points = 1
    for dim in draw(st.permutations(list(LoopDim))):
        limit = min(4, 96 // points)
        sizes[dim.value] = draw(st.integers(1, max(1, limit)))
        points *= sizes[dim.value]
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    layer = Layer("tiny", Op.CONV, ("x",), "y", LoopBounds(**sizes))
    return replace(layer, strides=draw(pair), dilations=draw(pair))


@st.composite
def mappings(draw: st.DrawFn, layer: Layer) -> Mapping:
    blocks: dict[tuple[int, int], list[Loop]] = {}
    for dim in LoopDim:
        rest = layer.bounds[dim]
        for prime in (2, 3):
            while rest % prime == 0:
                rest //= prime
                level, kind = draw(st.integers(0, 2)), draw(st.sampled_from((0, 0, 0, 1, 2)))
                loop = Loop(dim, prime, LEVELS[level], (None, "x", "y")[kind])
                blocks.setdefault((level, kind), []).append(loop)
    loops: list[Loop] = []
    for key in sorted(blocks):
        loops += draw(st.permutations(blocks[key]))
    everything = frozenset(Operand)
    keep = [Keep("outer", everything)]
    keep += [Keep(name, draw(st.frozensets(st.sampled_from(Operand)))) for name in LEVELS[1:]]
    return Mapping(tuple(loops), tuple(keep))


@settings(max_examples=250)
@given(st.data())
def test_closed_form_equals_walk(data: st.DataObject) -> None:
    layer = data.draw(layers())
    mapping = data.draw(mappings(layer))
    nest = build_nest(layer, MACHINE, mapping)
    walked = walk(layer, MACHINE, mapping)
    for operand in Operand:
        traffic = operand_traffic(nest, operand, FirstFill.ELIDED)
        assert set(traffic) == {level for level, kept in walked if kept is operand}
        for level, found in traffic.items():
            count = walked[level, operand]
            assert (found.reads, found.fills, found.updates, found.tile) == (
                count.reads,
                count.fills,
                count.updates,
                count.tile,
            ), (level, operand)
