"""``qmc export``: the files of a finished build, and what other tools do with them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from qmc.arithmetic import QuantParams
from qmc.chosen_network import NETWORK_FILE, load_chosen
from qmc.codegen.build import compile_folder, run_codes
from qmc.compiler import Plan, compile_model
from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import DataError, OutputError, QmcError, SchemeError
from qmc.export_command import export_build
from qmc.layer import Layer, LoopBounds, LoopDim, Op, Operand, Precision
from qmc.mapping import Keep, Loop, Mapping
from qmc.options import Mapper
from qmc.targets import load_target
from qmc.timeloop import read_mapping_file, read_problem
from qmc.timeloop_export import timeloop_text
from qmc.zigzag_export import mapping_text
from tests.onnx_graph import OnnxGraph

TARGET = "cortex-m7"


def model_file(folder: Path) -> Path:
    g = OnnxGraph(("batch", 4, 9, 8))
    t = g.node("Relu", g.node("Conv", "x", g.random(8, 4, 3, 3), g.random(8), name="first/a b"))
    u = g.node("Conv", t, g.random(8, 1, 3, 3), g.random(8), group=8, pads=[1] * 4, name="depth")
    t = g.node("Add", t, g.node("Relu", u))
    t = g.node("Conv", t, g.random(6, 4, 1, 1), g.random(6), group=2, strides=[2, 1], name="groups")
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    return g.save(g.node("Gemm", t, g.random(3, 6), g.random(3), transB=1, name="last"), folder)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("export")
    data = np.random.default_rng(2).standard_normal((6, 4, 9, 8)).astype(np.float32)
    np.save(folder / "calib.npy", data)
    options: dict[str, Any] = {"scheme": "w4a6", "calib": folder / "calib.npy"}
    options |= {"mapper": Mapper.RANDOM, "verify": False, "jobs": 1}
    return compile_model(model_file(folder), TARGET, folder / "build", **options)


def test_build_exports_without_its_model(plan: Plan, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(plan.output, moved)
    written = export_build(moved / "plan.yaml", "qdq", tmp_path / "deep" / "net.onnx")
    content = (moved / NETWORK_FILE).read_bytes()
    assert Path(written["files"][0]).read_bytes() == content
    original = export_build(moved, "qdq", tmp_path / "b.onnx", plan.output.parent / "model.onnx")
    assert Path(original["files"][0]).read_bytes() == content


def test_emitted_program_and_onnx_runtime_give_the_same_integers(
    plan: Plan, tmp_path: Path
) -> None:
    net = plan.integer
    source, result = net.quantization[net.input], net.quantization[net.output]
    data = np.random.default_rng(8).standard_normal((16, 4, 9, 8)).astype(np.float32) * 1.5
    program = compile_folder(plan.output, tmp_path / "run", ("-O1",))
    shape = net.tensors[net.output].shape
    codes = run_codes(program, source.quantize(data), source.bits, result.bits, shape)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    file = str(plan.output / NETWORK_FILE)
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    reals = session.run(None, {net.input: data})[0]
    found = np.rint(reals / np.float32(result.scale)).astype(np.int64) + result.zero_point
    np.testing.assert_array_equal(found.reshape(codes.shape), codes)


def test_exported_network_compiles_to_the_same_program(plan: Plan, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"  # the name of the network is that of the file
    shutil.copy(plan.output / NETWORK_FILE, model)
    options: dict[str, Any] = {"mapper": Mapper.RANDOM, "verify": False, "jobs": 1}
    again = compile_model(model, TARGET, tmp_path / "build", **options)
    for name in ("weights.c", NETWORK_FILE):
        assert (again.output / name).read_bytes() == (plan.output / name).read_bytes()


def test_qonnx_file_has_quantizers_of_the_real_widths(plan: Plan, tmp_path: Path) -> None:
    written = export_build(plan.output, "qonnx", tmp_path / "q.onnx")
    model = onnx.load(written["files"][0])
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    quants = [n for n in model.graph.node if n.op_type == "Quant"]
    assert {n.domain for n in quants} == {"qonnx.custom_op.general"}
    assert {float(constants[n.input[3]]) for n in quants} == {4, 6, 8, 16, 32}
    assert not {"QuantizeLinear", "DequantizeLinear"} & {n.op_type for n in model.graph.node}


def test_encodings_file_says_every_tensor(plan: Plan, tmp_path: Path) -> None:
    written = export_build(plan.output, "encodings", tmp_path / "e.json")
    data = json.loads(Path(written["files"][0]).read_text(encoding="utf-8"))
    assert data["version"] == "1.0.0"
    assert {e["name"] for e in data["activation_encodings"]} == set(plan.network.tensors)
    names = {f"{layer.name}.weight" for layer in plan.network.layers if layer.has_weights}
    assert {e["name"] for e in data["param_encodings"]} == names
    assert any("fitted integers" in note for note in written["notes"])


def test_timeloop_files_read_back_at_the_same_cost(plan: Plan, tmp_path: Path) -> None:
    written = export_build(plan.output, "timeloop", tmp_path / "timeloop")
    target, chosen = load_target(TARGET), load_chosen(plan.output)
    layers = [layer for layer in chosen.network.layers if layer.has_weights]
    assert len(written["files"]) == len(layers) == 4
    for layer, file in zip(layers, written["files"], strict=True):
        data = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        instance = data["problem"]["instance"]
        assert all(isinstance(value, int) for value in instance.values())
        problem = read_problem(instance, layer.is_depthwise)
        assert (problem.bounds, problem.strides) == (layer.bounds, layer.strides)
        model, mapping = AnalyticalModel(), read_mapping_file(file, layer, target)
        costs = [
            model.evaluate(layer, Precision(4, 6, 6), target, one)
            for one in (mapping, chosen.mappings[layer.name])
        ]
        assert costs[0].energy_pj == pytest.approx(costs[1].energy_pj)
        assert costs[0].cycles == costs[1].cycles


def test_both_axes_along_one_dim_become_two_levels(tmp_path: Path) -> None:
    target = load_target("eyeriss")
    layer = Layer("l", Op.CONV, ("i",), "o", LoopBounds(K=12, C=2, P=3))
    outer = target.memories[0].name
    array = next(m.name for m in target.memories if m.fanout_x > 1 and m.fanout_y > 1)
    loops = [Loop(LoopDim.C, 2, outer), Loop(LoopDim.P, 3, outer)]
    loops += [Loop(LoopDim.K, 4, array, "x"), Loop(LoopDim.K, 3, array, "y")]
    keeps = [Keep(m.name, m.keep) for m in target.memories]
    mapping = Mapping(tuple(loops), tuple(keeps))
    file = tmp_path / "m.yaml"
    file.write_text(timeloop_text(layer, Precision(), mapping), encoding="utf-8")
    assert set(read_mapping_file(file, layer, target).loops) == set(loops)
    (_, entry) = yaml.safe_load(mapping_text([layer], {"l": mapping}))
    assert entry["spatial_mapping"] == {"D1": ["K, 4"], "D2": ["K, 3"]}
    assert entry["temporal_ordering"] == [["OY", 3], ["C", 2]]


def test_loops_that_do_not_divide_have_no_timeloop_form() -> None:
    layer = Layer("l", Op.CONV, ("i",), "o", LoopBounds(K=5))
    mapping = Mapping(
        (Loop(LoopDim.K, 2, "D"), Loop(LoopDim.K, 3, "D")), (Keep("D", frozenset(Operand)),)
    )
    with pytest.raises(QmcError, match="K is 5, its loops make 6"):
        timeloop_text(layer, Precision(), mapping)


def test_zigzag_files_have_its_form_and_every_precision(plan: Plan, tmp_path: Path) -> None:
    """The rules of ZigZag 3.9's validators that these files could break."""
    written = export_build(plan.output, "zigzag", tmp_path / "zigzag")
    texts = [Path(file).read_text(encoding="utf-8") for file in written["files"]]
    workload, mapping = (yaml.safe_load(text) for text in texts)
    equation = re.compile(r"^O(\[\w+\])+\s*\+?\s*=\s*\w(\[\w+\])+\s*[*+]\s*\w(\[(?:\w+)?\])+\s*$")
    relation = re.compile(r"^(\w+)\s*=\s*(?:(\w+)\s*\*\s*)?(\w+)\s*\+\s*(?:(\w+)\s*\*\s*)?(\w+)$")
    for entry in workload:
        assert entry["operator_type"] in {"Conv", "Gemm"}
        assert equation.match(entry["equation"])
        assert all(relation.match(text) for text in entry["dimension_relations"])
        assert len(entry["loop_dims"]) == len(entry["loop_sizes"])
        assert len(entry.get("padding", [])) == len(entry.get("pr_loop_dims", []))
        assert entry["operand_precision"]["W"] == 4
    assert [entry["operand_precision"]["O_final"] for entry in workload] == [6, 6, 6, 16]
    assert [entry["operand_source"]["I"] for entry in workload] == [0, 0, 0, 2]
    assert mapping[0]["name"] == "default"
    assert [entry["name"] for entry in mapping[1:]] == [entry["name"] for entry in workload]


@pytest.mark.parametrize(
    ("file_format", "error", "rule"),
    [("onnx", QmcError, "--format: found 'onnx'; allowed: qdq, qonnx, encodings")],
)
def test_unknown_format_is_refused(
    plan: Plan, tmp_path: Path, file_format: str, error: type[QmcError], rule: str
) -> None:
    with pytest.raises(error, match=rule):
        export_build(plan.output, file_format, tmp_path / "out")


def test_what_is_no_build_is_refused(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no plan\.yaml"):
        export_build(tmp_path, "qdq", tmp_path / "out")
    other = model_file(tmp_path)
    other.write_bytes(other.read_bytes() + b"\x72\x00")
    with pytest.raises(DataError, match=r"is not the model of .*plan\.yaml"):
        export_build(plan.output, "qdq", tmp_path / "out", other)


def test_build_without_network_asks_for_the_model(plan: Plan, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(plan.output, moved)
    (moved / NETWORK_FILE).unlink()
    with pytest.raises(DataError, match=r"give the model 'model\.onnx' with --model"):
        export_build(moved, "qdq", tmp_path / "out")


def test_scheme_of_another_network_is_refused(plan: Plan, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(plan.output, moved)
    text = (moved / "scheme.yaml").read_text(encoding="utf-8")
    (moved / "scheme.yaml").write_text(text.replace('"depth"', '"other"'), encoding="utf-8")
    with pytest.raises(SchemeError, match="the scheme is of another network"):
        export_build(moved, "encodings", tmp_path / "out")


def test_output_that_cannot_be_written_is_told_and_leaves_nothing(
    plan: Plan, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        export_build(plan.output, "qdq", tmp_path / "file" / "out.onnx")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        export_build(plan.output, "qdq", tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_widths_of_the_plan_are_those_of_the_file(plan: Plan) -> None:
    chosen = load_chosen(plan.output)
    assert chosen.scheme == plan.scheme
    assert all(isinstance(p, QuantParams) for p in chosen.integer.quantization.values())
    for old, new in zip(plan.integer.layers, chosen.integer.layers, strict=True):
        if old.weights is not None:
            np.testing.assert_array_equal(old.weights, new.weights)
            assert old.requant is not None
            assert new.requant is not None
            np.testing.assert_array_equal(old.requant.start, new.requant.start)
