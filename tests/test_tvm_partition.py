"""Modules whose layers run in qmc's kernels inside TVM: the same integers as everywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax
from tvm.relax.frontend import nn
from tvm.relax.frontend.onnx import from_onnx

import qmc
from qmc.arithmetic import QuantParams
from qmc.codegen.build import compile_folder, run_program
from qmc.data import Use, load_dataset
from qmc.errors import DataError, ModelError, SchemeError, TargetError
from qmc.packing import pack_activation
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.region_module import region_module, regions
from tests.onnx_graph import OnnxGraph
from tests.small_build import small_images
from tests.test_import_random import STEPS, Value, step
from tests.tvm_run import Floats, codes_of, integer_networks, reference, run

if TYPE_CHECKING:
    from qmc.compiler import Plan


def noise(*shape: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def layers_left(module: Any) -> list[str]:
    """Operators that ``main`` still computes itself."""
    found: list[str] = []

    def visit(expr: Any) -> None:
        if isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.Op):
            found.append(expr.op.name.removeprefix("relax."))

    relax.analysis.post_order_visit(module["main"], visit)
    return sorted(name for name in found if name != "call_dps_packed")


def test_whole_network_gives_bytes_of_the_standalone_program(
    small_plan: Plan, tmp_path: Path
) -> None:
    program = compile_folder(small_plan.output, tmp_path / "run", ("-O1",))
    module = qmc.from_onnx(small_plan.output.parent / "model.onnx")
    scheme = small_plan.output / "scheme.yaml"
    partitioned = qmc.partition_for_qmc(module, "eyeriss", scheme=scheme)
    assert layers_left(partitioned) == []
    quant = small_plan.integer.quantization[small_plan.integer.output]
    for seed in range(3):
        data = 0.3 * noise(1, 3, 10, 7, seed=seed)
        found = run(partitioned, data)
        packed = pack_activation(codes_of(found, quant), quant.bits).tobytes()
        assert packed == run_program(program, data.tobytes(), tmp_path)


def test_calibration_gives_the_scheme_of_the_command_line(small_plan: Plan, tmp_path: Path) -> None:
    images = load_dataset(small_images(tmp_path), Use.CALIB, (1, 3, 10, 7))
    data = images.inputs(range(len(images)))
    module = qmc.from_onnx(small_plan.output.parent / "model.onnx")
    annotated = qmc.partition_for_qmc(
        module, "eyeriss", scheme="w4a8", calibration=data, codegen=False
    )
    (function,) = regions(annotated).values()
    found = annotated_scheme(region_module(function))
    assert (found.tensors, found.weights) == (small_plan.scheme.tensors, small_plan.scheme.weights)


@settings(max_examples=4)
@given(
    seed=st.integers(0, 10**6),
    kinds=st.lists(st.sampled_from(STEPS), min_size=2, max_size=6),
    scheme=st.sampled_from(["w8a8", "w3a5", "w4a8"]),
    target=st.sampled_from(["eyeriss", "host"]),
)
def test_random_network_gives_integers_of_the_reference(
    seed: int, kinds: list[str], scheme: str, target: str
) -> None:
    g = OnnxGraph((1, 3, 7, 9), opset=18, seed=seed)
    values: list[Value] = [("x", 3, 7, 9)]
    for kind in kinds:
        values.append(step(g, kind, values[-1], values))
    out = g.node("Flatten", g.node("GlobalAveragePool", values[-1][0]))
    out = g.node("Gemm", out, g.random(values[-1][1], 4), g.random(4))
    with tempfile.TemporaryDirectory() as folder:
        module = qmc.from_onnx(g.save(out, Path(folder)))
    data = noise(5, 3, 7, 9, seed=seed)
    annotated = qmc.partition_for_qmc(
        module, target, scheme=scheme, calibration=data, codegen=False
    )
    (network,) = integer_networks(annotated)
    assert layers_left(annotated) == []
    finished = relax.transform.RunCodegen()(annotated)
    np.testing.assert_array_equal(run(finished, data[:1]), reference(network, data[:1]))


def sine_in_the_middle() -> Any:
    """conv, relu, sin, conv, and what went into the sine added: two inputs, so not in a region."""
    rng = np.random.default_rng(3)
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((1, 3, 6, 5), "float32"))

    def conv(data: Any, outputs: int, inputs: int, name: str) -> Any:
        weights = (rng.standard_normal((outputs, inputs, 3, 2)) * 0.3).astype(np.float32)
        padding = [1, 0, 1, 1]
        call = relax.op.nn.conv2d(data, relax.const(weights), padding=padding)
        return builder.emit(call, name)

    with builder.function("main", [x]):
        with builder.dataflow():
            first = builder.emit(relax.op.nn.relu(conv(x, 4, 3, "first")), "relu")
            wave = builder.emit(relax.op.sin(first), "wave")
            second = builder.emit(relax.op.add(conv(wave, 4, 4, "second"), first), "sum")
            third = conv(second, 2, 4, "third")
            result = builder.emit_output(relax.op.nn.relu(third), "last")
        builder.emit_func_output(result)
    return builder.get()


def test_unsupported_operator_stays_in_tvm_between_regions() -> None:
    module, data = sine_in_the_middle(), noise(6, 3, 6, 5)
    annotated = qmc.partition_for_qmc(module, "eyeriss", calibration=data, codegen=False)
    assert layers_left(annotated) == ["add", "sin"]
    first, second, third = integer_networks(annotated)
    relu = reference(first, data[:1])
    total = relu + reference(second, np.sin(relu))
    finished = relax.transform.RunCodegen()(annotated)
    np.testing.assert_allclose(
        run(finished, data[:1]), reference(third, total), atol=third_step(third)
    )
    error = np.abs(run(finished, data[:1]) - run(module, data[:1])).max()
    assert error < 0.05 * np.abs(run(module, data[:1])).max()


def third_step(network: Any) -> float:
    """TVM's sine may differ from NumPy's in the last bit, and a code with it."""
    return float(2 * network.quantization[network.output].scale * 256)


class Classifier(nn.Module):
    """A network written in Relax, with an activation that ONNX spells with two operators."""

    def __init__(self) -> None:
        self.stem = nn.Conv2D(3, 8, 3, stride=2, padding=1, bias=True)
        self.depthwise = nn.Conv2D(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8 * 4 * 3, 5)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = nn.op.relu(self.stem(x))
        x = nn.op.silu(self.depthwise(x)) + x
        return self.head(nn.op.reshape(x, (1, 8 * 4 * 3)))


def exported() -> tuple[Any, dict[str, Floats]]:
    spec = {"forward": {"x": nn.spec.Tensor((1, 3, 8, 6), "float32")}}
    module, parameters = Classifier().export_tvm(spec)
    values = {
        name: 0.3 * noise(*(int(extent) for extent in parameter.shape), seed=seed)
        for seed, (name, parameter) in enumerate(parameters)
    }
    return module, values


def test_relax_module_that_never_was_onnx_runs_in_kernels() -> None:
    (module, parameters), data = exported(), noise(8, 3, 8, 6)
    annotated = qmc.partition_for_qmc(
        module, "host", params=parameters, calibration=data, codegen=False
    )
    (network,) = integer_networks(annotated)
    finished = relax.transform.RunCodegen()(annotated)
    found = run(finished, data[:1], function="forward")
    np.testing.assert_array_equal(found, reference(network, data[:1]))
    weights = {name: tvm.runtime.tensor(value) for name, value in parameters.items()}
    in_float = run(
        relax.transform.BindParams("forward", weights)(module), data[:1], function="forward"
    )
    assert np.abs(found - in_float).max() < 0.05 * np.abs(in_float).max()


def test_clips_of_the_importer_of_tvm_are_part_of_their_layers() -> None:
    g = OnnxGraph((1, 3, 7, 6))
    six = [g.const(np.float32(limit)) for limit in (0, 6)]
    clipped = g.node("Clip", g.node("Conv", "x", g.random(4, 3, 3, 2), g.random(4)), *six)
    out = g.node("Conv", clipped, g.random(2, 4, 1, 1))
    module, data = from_onnx(g.model(out)), noise(8, 3, 7, 6)
    annotated = qmc.partition_for_qmc(module, "eyeriss", calibration=data, codegen=False)
    (network,) = integer_networks(annotated)
    assert [integer.layer.clamp for integer in network.layers] == [(0.0, 6.0), None]
    partitioned = qmc.partition_for_qmc(module, "eyeriss", calibration=data)
    assert [v.name_hint for v in partitioned.functions] == ["main"]
    np.testing.assert_array_equal(run(partitioned, data[:1]), reference(network, data[:1]))


def test_quantized_model_needs_no_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    g = OnnxGraph((1, 3, 7, 6))

    def pair(value: str, scale: float, zero: int) -> str:
        constants = [g.const(np.float32(scale)), g.const(np.uint8(zero))]
        return g.node("DequantizeLinear", g.node("QuantizeLinear", value, *constants), *constants)

    x = pair("x", 0.03, 120)
    y = pair(g.node("Conv", x, g.random(4, 3, 3, 2)), 0.02, 131)
    module, data = qmc.from_onnx(g.save(y, tmp_path)), noise(1, 3, 7, 6)
    annotated = qmc.partition_for_qmc(module, "eyeriss", codegen=False)
    (network,) = integer_networks(annotated)
    assert network.quantization[network.input] == QuantParams(8, float(np.float32(0.03)), 120)
    assert network.quantization[network.output] == QuantParams(8, float(np.float32(0.02)), 131)
    found = run(relax.transform.RunCodegen()(annotated), data)
    np.testing.assert_array_equal(found, reference(network, data))
    assert not caplog.text


def test_several_inputs_and_outputs_keep_their_places() -> None:
    builder = relax.BlockBuilder()
    x, y = (relax.Var(n, relax.TensorType((1, 2, 4, 3), "float32")) for n in "xy")
    weights = relax.const(0.3 * noise(2, 2, 1, 1))
    with builder.function("main", [x, y]):
        with builder.dataflow():
            left = builder.emit(relax.op.nn.relu(builder.emit(relax.op.nn.conv2d(x, weights))))
            right = builder.emit(relax.op.nn.conv2d(y, weights))
            both = builder.emit(relax.op.add(left, right))
            last = builder.emit(relax.op.nn.conv2d(both, weights))
            result = builder.emit_output(relax.Tuple([left, last, y]))
        builder.emit_func_output(result)
    module = builder.get()
    data = [noise(5, 2, 4, 3, seed=seed) for seed in (1, 2)]
    partitioned = qmc.partition_for_qmc(module, "eyeriss", calibration=data)
    assert layers_left(partitioned) == ["add"]
    found = run(partitioned, data[0][:1], data[1][:1])
    expected = run(module, data[0][:1], data[1][:1])
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 0.03 * np.abs(other).max()
    np.testing.assert_array_equal(found[2], data[1][:1])


def test_annotated_module_survives_its_text() -> None:
    module, data = sine_in_the_middle(), noise(4, 3, 6, 5)
    annotated = qmc.partition_for_qmc(module, "eyeriss", calibration=data, codegen=False)
    text = annotated.script(show_meta=True)
    assert "qmc.scheme" in text
    assert "qmc.mapping" in text
    again = tvm.script.from_source(text)
    results = [run(relax.transform.RunCodegen()(one), data[:1]) for one in (annotated, again)]
    np.testing.assert_array_equal(*results)


def test_pipeline_by_name_is_partition_for_qmc() -> None:
    module, data = sine_in_the_middle(), noise(4, 3, 6, 5)
    pipeline = relax.get_pipeline("qmc", target="eyeriss", calibration=data, codegen=False)
    expected = qmc.partition_for_qmc(module, "eyeriss", calibration=data, codegen=False)
    tvm.ir.assert_structural_equal(pipeline(module), expected)


def test_passes_make_up_a_sequential() -> None:
    from qmc.passes import FormRegions, front_passes
    from qmc.tvm import MapLayers, QuantizeRegions

    module, data = sine_in_the_middle(), noise(4, 3, 6, 5)
    passes = [
        *front_passes(keep_input=True),
        FormRegions(),
        QuantizeRegions("w8a8", data),
        MapLayers("eyeriss"),
    ]
    expected = qmc.partition_for_qmc(module, "eyeriss", calibration=data, codegen=False)
    tvm.ir.assert_structural_equal(tvm.transform.Sequential(passes)(module), expected)


def test_module_without_data_is_calibrated_on_noise_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    annotated = qmc.partition_for_qmc(sine_in_the_middle(), "eyeriss", codegen=False)
    assert len(regions(annotated)) == 3
    assert "no calibration data" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"calibration": noise(4, 3, 5, 6)}, DataError, r"takes float32 n x 3 x 6 x 5"),
        ({"calibration": [noise(4, 3, 6, 5)] * 2}, DataError, "found 2 arrays; 'main' has 1"),
        ({"calibration": np.full((1, 3, 6, 5), np.nan, "f4")}, DataError, "not finite"),
        ({"target": "nowhere"}, TargetError, "nowhere"),
        ({"scheme": "w9a9"}, SchemeError, "w9a9"),
        ({"params": {"w": noise(2)}}, ModelError, "'w' is no input of main"),
    ],
)
def test_wrong_argument_is_told(arguments: dict[str, Any], error: type, words: str) -> None:
    options: dict[str, Any] = {"calibration": noise(4, 3, 6, 5), "target": "eyeriss"} | arguments
    with pytest.raises(error, match=words):
        qmc.partition_for_qmc(sine_in_the_middle(), **options)
