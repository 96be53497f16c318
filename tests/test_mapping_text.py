"""Mappings as plain data and as text; mappings and problems of Timeloop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from qmc.errors import DataError, MappingError
from qmc.layer import LoopBounds, LoopDim, Operand
from qmc.mapping import Keep, Loop, Mapping
from qmc.mapping_text import mapping_to_data, nest_text, read_mapping_data
from qmc.targets import load_target
from qmc.timeloop import read_bitwidths, read_mapping, read_mapping_file, read_problem
from tests.cost_models.test_analytical import LAYER, MACHINE, MAPPING

PROBLEM = {"C": 4, "M": 8, "P": 6, "Q": 10, "R": 1, "S": 3, "Wstride": 2, "Hdilation": 3}
#: Innermost first, as Timeloop writes it; P is its width, Q its height.
TIMELOOP: list[dict[str, Any]] = [
    {"target": "psum_spad", "type": "datatype", "keep": ["Outputs"]},
    {"target": "shared_glb", "type": "datatype", "keep": ["Inputs"]},
    {"target": "DRAM", "type": "bypass", "keep": ["Weights", "Inputs", "Outputs"]},
    {"target": "psum_spad", "type": "temporal", "factors": "C1 M2", "permutation": "MCRSNPQ"},
    {
        "target": "column",
        "type": "spatial",
        "factors": ["S=3", "M=2"],
        "permutation": ["S", "M"],
        "split": 0,
    },
    {"target": "column", "type": "temporal", "factors": "C=1"},
    {"target": "shared_glb", "type": "spatial", "factors": {"Q": 10}, "split": 7},
    {"target": "shared_glb", "type": "temporal", "factors": "P6 C4 M2", "permutation": "CPM"},
    {"target": "DRAM", "type": "temporal", "factors": "", "permutation": "CMRSNPQ"},
]


def test_problem_swaps_height_and_width() -> None:
    layer = read_problem(PROBLEM)
    assert layer.bounds == LoopBounds(K=8, C=4, P=10, Q=6, R=3, S=1)
    assert layer.strides == (1, 2)
    assert layer.dilations == (3, 1)


def test_depthwise_problem_has_groups() -> None:
    layer = read_problem(PROBLEM | {"M": 1}, depthwise=True)
    assert layer.bounds == LoopBounds(G=4, P=10, Q=6, R=3)
    assert layer.is_depthwise


def test_bitwidths_put_partial_sums_at_the_output_width() -> None:
    bits = read_bitwidths({"bitwidths": {"Weights": 4, "Outputs": 6}})
    assert (bits.weight_bits, bits.input_bits, bits.output_bits, bits.psum_bits) == (4, 8, 6, 6)


def test_wrong_bitwidth_raises() -> None:
    with pytest.raises(DataError, match="bitwidths: found 'eight'; allowed: 1 to 64"):
        read_bitwidths({"bitwidths": {"Inputs": "eight"}})


@pytest.mark.parametrize("change", [{"C": 0}, {"P": None}, {"S": "3"}, {"Wstride": -1}])
def test_wrong_problem_raises(change: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=f"problem: {next(iter(change))}: found"):
        read_problem(PROBLEM | change)


@pytest.mark.parametrize("entries", [TIMELOOP, TIMELOOP[::-1]])
def test_timeloop_mapping_becomes_loops_outermost_first(entries: list[dict[str, Any]]) -> None:
    mapping = read_mapping(entries, read_problem(PROBLEM), load_target("eyeriss"))
    assert mapping.loops == (
        Loop(LoopDim.K, 2, "shared_glb"),
        Loop(LoopDim.Q, 6, "shared_glb"),
        Loop(LoopDim.C, 4, "shared_glb"),
        Loop(LoopDim.P, 10, "shared_glb", "x"),
        Loop(LoopDim.K, 2, "shared_glb", "y"),
        Loop(LoopDim.R, 3, "shared_glb", "y"),
        Loop(LoopDim.K, 2, "psum_spad"),
    )
    kept = {entry.level: entry.operands for entry in mapping.keep}
    assert kept["shared_glb"] == {Operand.I}
    assert kept["weights_spad"] == {Operand.W}  # not in the file: what the target says


def test_machine_with_one_axis_needs_no_split() -> None:
    entries = [
        {"target": "PEInputBuffer", "type": "spatial", "factors": "M4"},
        {"target": "GlobalBuffer", "type": "spatial", "factors": "M2", "split": 0},
        {"target": "DRAM", "type": "temporal", "factors": "M1 C4 P6 Q10 S3"},
    ]
    mapping = read_mapping(entries, read_problem(PROBLEM), load_target("simba"))
    axes = {loop.level: loop.spatial for loop in mapping.loops if loop.spatial}
    assert axes == {"PEInputBuffer": "y", "GlobalBuffer": "x"}


def test_timeloop_mapping_is_read_from_yaml_and_json(tmp_path: Path) -> None:
    layer, target = read_problem(PROBLEM), load_target("eyeriss")
    expected = read_mapping(TIMELOOP, layer, target)
    for name, text in (
        ("a.yaml", yaml.safe_dump({"mapping": TIMELOOP})),
        ("b.json", json.dumps(TIMELOOP)),
    ):
        (tmp_path / name).write_text(text)
        assert read_mapping_file(tmp_path / name, layer, target) == expected


@pytest.mark.parametrize(
    ("entry", "error", "message"),
    [
        ("text", DataError, "found 'text'; allowed: keys and values"),
        ({"target": "DRAM", "type": "sideways"}, DataError, "type: found 'sideways'; allowed"),
        ({"type": "temporal"}, DataError, "mapping entry of 'None'"),
        ({"target": "DRAM", "type": "temporal", "factors": "Z3"}, DataError, "dim Z; allowed"),
        ({"target": "DRAM", "type": "temporal", "factors": "C*"}, DataError, "found 'C.'; allowed"),
        ({"target": "DRAM", "type": "temporal", "permutation": "CC"}, DataError, "each of N M C"),
        ({"target": "DRAM", "type": "datatype", "keep": ["All"]}, DataError, "keep: found .'All'"),
        (
            {"target": "L", "type": "temporal", "factors": "C3"},
            MappingError,
            "it steps in time; lev",
        ),
        ({"target": "L", "type": "datatype", "keep": ["Inputs"]}, MappingError, "it keeps data; l"),
        ({"target": "DRAM", "type": "temporal", "factors": "C0"}, MappingError, "factor C0"),
    ],
)
def test_wrong_timeloop_entry_raises(entry: object, error: type[Exception], message: str) -> None:
    layer, target = read_problem(PROBLEM), load_target("eyeriss")
    with pytest.raises(error, match=message):
        read_mapping([entry, *TIMELOOP[3:]], layer, target)


def test_unreadable_mapping_file_raises(tmp_path: Path) -> None:
    layer, target = read_problem(PROBLEM), load_target("eyeriss")
    (tmp_path / "scalar.yaml").write_text("3")
    with pytest.raises(DataError, match="no list of mapping entries"):
        read_mapping_file(tmp_path / "scalar.yaml", layer, target)
    with pytest.raises(DataError, match="cannot be read"):
        read_mapping_file(tmp_path / "gone.yaml", layer, target)


@given(st.data())
def test_plain_data_gives_the_mapping_back(data: st.DataObject) -> None:
    levels = ("a", "b")
    loop = st.tuples(st.sampled_from(LoopDim), st.integers(1, 9))
    loops: list[Loop] = []
    for level in levels:
        loops += [Loop(*parts, level) for parts in data.draw(st.lists(loop))]
        axes = st.tuples(loop, st.sampled_from("xy"))
        loops += [Loop(*parts, level, axis) for parts, axis in data.draw(st.lists(axes))]
    operands = st.frozensets(st.sampled_from(Operand))
    keep = tuple(Keep(level, data.draw(operands)) for level in levels)
    mapping = Mapping(tuple(loops), keep)
    plain = json.loads(json.dumps(mapping_to_data(mapping)))
    assert read_mapping_data(plain) == mapping
    assert read_mapping_data({"mapping": yaml.safe_load(yaml.safe_dump(plain))}) == mapping


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "found no list of levels"),
        ([], "found no list of levels"),
        ([3], r"file: \[0\]: found 3; allowed: level, keep, temporal, spatial"),
        ([{"level": "a", "kept": []}], "found key 'kept'"),
        ([{"level": "a", "keep": ["X"]}], "keep: found"),
        ([{"level": "a", "temporal": [["K"]]}], r"loop: found \['K'\]; allowed: \[dim, extent\]"),
        ([{"level": "a", "temporal": [["Z", 2]]}], "loop: found"),
        ([{"level": "a", "temporal": [["K", 0]]}], "loop: found"),
        ([{"level": "a", "temporal": 3}], "temporal: found 3; allowed: a list of loops"),
        ([{"level": "a", "spatial": [["K", 2, "z"]]}], "x or y"),
    ],
)
def test_wrong_plain_data_raises(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_mapping_data(data, "file")


def test_nest_text_shows_loops_and_tiles() -> None:
    assert nest_text(LAYER, MACHINE, MAPPING) == (
        "main: keeps W 12, I 12, O 8 elements\n"
        "  for C in 0..1\n"
        "buffer: keeps I 6, O 8 elements\n"
        "    for R in 0..2\n"
        "      for P in 0..3\n"
        "        parallel-for along x: K in 0..1\n"
        "register: keeps W 1 elements\n"
        "          multiply-accumulate"
    )
