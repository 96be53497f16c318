"""Nests whose loops do not divide their dims: the closed form equals a literal walk."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.cost_models.nest import build_nest
from qmc.cost_models.remainders import average, check_windows, compute_steps, cut_traffic
from qmc.cost_models.traffic import FirstFill, operand_traffic
from qmc.errors import MappingError
from qmc.layer import Layer, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping
from tests.cost_models.cut_walker import steps_in_time, walk
from tests.cost_models.test_walker import LEVELS, MACHINE, layers, mappings


@st.composite
def cut_mappings(draw: st.DrawFn, layer: Layer) -> Mapping:
    """Loops of any extents that cover the layer."""
    loops = [
        Loop(dim, draw(st.integers(1, 3)), name, axis)
        for name in LEVELS
        for axis in (None, "x", "y")
        for dim in draw(st.permutations(list(LoopDim)))
        if layer.bounds[dim] > 1 and draw(st.integers(0, 3 if axis else 1)) == 0
    ]
    keep = [Keep("outer", frozenset(Operand))]
    keep += [Keep(name, draw(st.frozensets(st.sampled_from(Operand)))) for name in LEVELS[1:]]
    return Mapping(covering(layer, loops), tuple(keep))


def covering(layer: Layer, loops: list[Loop]) -> tuple[Loop, ...]:
    """The loops without idle steps, and the outermost of each dim as long as it must be."""
    left = {dim: layer.bounds[dim] for dim in LoopDim}
    found = []
    for loop in reversed(loops):
        extent = min(loop.extent, left[loop.dim])
        left[loop.dim] = -(-left[loop.dim] // extent)
        found.append(replace(loop, extent=extent))
    found += [Loop(dim, rest, LEVELS[0]) for dim, rest in left.items()]
    found.sort(key=lambda loop: (LEVELS.index(loop.level), loop.spatial is not None), reverse=True)
    return tuple(loop for loop in reversed(found) if loop.extent > 1)


@settings(max_examples=150)
@given(st.data())
def test_cut_nest_equals_walk(data: st.DataObject) -> None:
    layer = data.draw(layers())
    mapping = data.draw(cut_mappings(layer))
    nest = build_nest(layer, MACHINE, mapping)
    try:
        check_windows(nest)
    except MappingError:
        return
    assert compute_steps(nest) == steps_in_time(layer, MACHINE, mapping)
    walked = walk(layer, MACHINE, mapping)
    for operand in Operand:
        traffic = cut_traffic(nest, operand, FirstFill.ELIDED)
        assert set(traffic) == {level for level, kept in walked if kept is operand}
        for level, pair in traffic.items():
            for found, count in zip(pair, walked[level, operand], strict=True):
                assert (
                    found.reads, found.fills, found.updates, found.final_updates, found.tile,
                ) == (
                    count.reads, count.fills, count.updates, count.final, count.tile,
                ), (level, operand, pair)  # fmt: skip


@settings(max_examples=100)
@given(st.data())
def test_cut_nest_that_divides_equals_perfect_one(data: st.DataObject) -> None:
    layer = data.draw(layers())
    nest = build_nest(layer, MACHINE, data.draw(mappings(layer)))
    for operand in Operand:
        perfect = operand_traffic(nest, operand, FirstFill.ELIDED)
        for level, (busiest, total) in cut_traffic(nest, operand, FirstFill.ELIDED).items():
            assert busiest == perfect[level]
            assert average(total, nest.used_instances(level)) == perfect[level]
