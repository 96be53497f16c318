"""Exported ONNX files: ONNX Runtime computes the integers of the reference, and they read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qmc.arithmetic import Rounding
from qmc.calibrate import calibrate
from qmc.frontend import load_network
from qmc.integer import IntegerNetwork
from qmc.network import Network
from qmc.qdq_export import to_qdq
from qmc.qonnx_export import to_qonnx
from qmc.quantize import quantize
from qmc.reference import run_network
from qmc.scheme import Scheme
from qmc.widths import LayerWidths, Widths
from tests.onnx_graph import OnnxGraph

Inputs = NDArray[np.float32]


def two_branches() -> tuple[OnnxGraph, str]:
    """Grouped, strided, dilated and asymmetrically padded; pools, gate, concat and softmax."""
    g = OnnxGraph((1, 4, 9, 7), opset=17)
    attributes = {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}
    t = g.node("Conv", "x", g.random(6, 2, 3, 2), g.random(6), name="a", **attributes)
    t = g.node("Clip", t, g.const(np.float32(-0.3)), g.const(np.float32(0.9)))
    ceil = {"kernel_shape": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1, "strides": [2, 2]}
    u = g.node("AveragePool", t, **ceil)
    u = g.node("Relu", g.node("Conv", u, g.random(6, 1, 3, 1), group=6, pads=[1, 0, 1, 0]))
    gate = g.node("Sigmoid", g.node("GlobalAveragePool", u))
    v = g.node("AveragePool", u, kernel_shape=[3, 2], pads=[1, 0, 1, 1], count_include_pad=1)
    v = g.node("HardSwish", g.node("MaxPool", v, kernel_shape=[2, 1], strides=[1, 1]))
    u = g.node("Mul", u, gate)
    u = g.node("Add", u, g.node("LeakyRelu", u, alpha=0.1))
    v = g.node("Tanh", g.node("Elu", v))
    u = g.node("MaxPool", u, kernel_shape=[2, 1], strides=[1, 1])
    t = g.node("Concat", u, v, axis=1)
    t = g.node("Reshape", g.node("Transpose", t, perm=[0, 2, 3, 1]), g.const(np.array([1, -1])))
    size = g.model(t).graph.output[0].type.tensor_type.shape.dim[1].dim_value
    t = g.node("Gemm", t, g.random(5, size), g.random(5), transB=1)
    return g, g.node("Softmax", t, axis=1)


def chain() -> tuple[OnnxGraph, str]:
    g = OnnxGraph(("batch", 3, 8, 6))
    t = g.node("Relu", g.node("Conv", "x", g.random(5, 3, 3, 2), g.random(5), name="first"))
    t = g.node("Conv", t, g.random(4, 5, 1, 1), g.random(4), strides=[2, 2])
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    return g, g.node("Gemm", t, g.random(3, 4), g.random(3), transB=1)


def functions() -> tuple[OnnxGraph, str]:
    """Each half of the channels, cut out, through the functions that are younger than others."""
    g = OnnxGraph(("batch", 3, 6, 5), opset=20)
    t = g.node("Conv", "x", g.random(6, 3, 2, 2), g.random(6))
    limits = [[0, 1], [3, 5], [1, 2], [1, 2]]
    t = g.node("Reshape", t, g.const(np.array([1, 3, 2, 5, 4])))  # a channel shuffle
    t = g.node("Transpose", t, perm=[0, 2, 1, 3, 4])
    t = g.node("Reshape", t, g.const(np.array([1, 6, 5, 4])))
    first = g.node("Slice", t, *(g.const(np.array(values)) for values in limits))
    limits = [[3, 0], [6, 4], [1, 2], [1, 2]]
    second = g.node("Slice", t, *(g.const(np.array(values)) for values in limits))
    first = g.node("Mish", g.node("Mul", first, g.node("Sigmoid", first)))
    second = g.node("Gelu", g.node("Gelu", second), approximate="tanh")
    return g, g.node("Conv", g.node("Add", first, g.node("Softplus", second)), g.random(2, 3, 1, 1))


GRAPHS = [two_branches, chain, functions]


def images(network: Network, count: int = 3, seed: int = 7) -> Inputs:
    shape = network.tensors[network.input].shape[1:]
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def quantized(
    graph: tuple[OnnxGraph, str],
    folder: Path,
    widths: Widths,
    rounding: Rounding = Rounding.HALF_UP,
) -> tuple[Network, Scheme, IntegerNetwork]:
    g, output = graph
    network = load_network(g.save(output, folder))[1]
    scheme = calibrate(network, [images(network)], widths, rounding=rounding)
    return network, scheme, quantize(network, scheme)


def every_code(model: ModelProto, integer: IntegerNetwork, data: Inputs) -> dict[str, Inputs]:
    """What ONNX Runtime holds behind every QuantizeLinear of an activation, by tensor."""
    shown = ModelProto.FromString(model.SerializeToString())
    names = {}
    for tensor in integer.tensors:
        real = tensor if tensor == integer.output else f"{tensor}/dequantized"
        names[tensor] = next(n.input[0] for n in shown.graph.node if n.output[0] == real)
    for tensor, name in names.items():
        bits = integer.quantization[tensor].bits
        kinds = {2: TensorProto.UINT2, 4: TensorProto.UINT4, 16: TensorProto.UINT16}
        kind = kinds.get(bits, TensorProto.UINT8)
        shown.graph.output.append(helper.make_tensor_value_info(name, kind, None))
        # Sub-byte values cannot leave a session: they are cast.
        shown.graph.node.append(
            helper.make_node("Cast", [name], [f"{tensor}#"], to=TensorProto.INT32)
        )
        del shown.graph.output[-1]
        shown.graph.output.append(
            helper.make_tensor_value_info(f"{tensor}#", TensorProto.INT32, None)
        )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = shown.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    values = session.run([f"{tensor}#" for tensor in names], {integer.input: data})
    return dict(zip(names, values, strict=True))


def assert_same_integers(model: ModelProto, integer: IntegerNetwork, data: Inputs) -> None:
    found = every_code(model, integer, data)
    expected = run_network(integer, integer.quantization[integer.input].quantize(data))
    for tensor in integer.tensors:
        np.testing.assert_array_equal(found[tensor], expected[tensor], err_msg=tensor)


def exported(network: Network, scheme: Scheme, integer: IntegerNetwork) -> bytes:
    return to_qdq(network, scheme, integer).SerializeToString(deterministic=True)


@pytest.mark.parametrize("widths", [(8, 8), (4, 4), (2, 3), (5, 2), (3, 7)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_onnx_runtime_computes_the_reference_integers(
    tmp_path: Path, graph: object, widths: tuple[int, int]
) -> None:
    parts = quantized(graph(), tmp_path, Widths(*widths))  # type: ignore[operator]
    model = to_qdq(*parts)
    onnx.checker.check_model(model, full_check=True)
    assert_same_integers(model, parts[2], images(parts[0], 4, seed=11))


@pytest.mark.parametrize("rounding", [Rounding.FLOOR, Rounding.TFLITE_DOUBLE])
def test_other_roundings_are_exact_too(tmp_path: Path, rounding: Rounding) -> None:
    narrow = Widths(8, 8, {"gemm5": LayerWidths(activation=8)})  # 16 bits need a scale above 1
    parts = quantized(chain(), tmp_path, narrow, rounding)
    assert_same_integers(to_qdq(*parts), parts[2], images(parts[0], 8, seed=11))


def test_inputs_on_ties_become_the_codes_of_the_contract(tmp_path: Path) -> None:
    """QuantizeLinear rounds halves to even, the contract up."""
    parts = quantized(chain(), tmp_path, Widths(8, 8))
    params = parts[2].quantization["x"]
    steps = np.random.default_rng(3).integers(-2, 258, (1, 3, 8, 6)) - params.zero_point + 0.5
    data = (steps * params.scale).astype(np.float32)
    codes = every_code(to_qdq(*parts), parts[2], data)["x"]
    np.testing.assert_array_equal(codes, params.quantize(data))


@settings(max_examples=12)
@given(
    seed=st.integers(0, 1 << 16),
    channels=st.integers(1, 5),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    bits=st.tuples(st.integers(2, 8), st.integers(2, 8)),
)
def test_random_convolutions_are_exact_and_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    channels: int,
    kernel: tuple[int, int],
    pads: list[int],
    bits: tuple[int, int],
) -> None:
    folder = tmp_path_factory.mktemp("random")
    g = OnnxGraph(("batch", channels, 6, 5), seed=seed)
    t = g.node("Conv", "x", g.random(4, channels, *kernel), g.random(4, scale=20.0), pads=pads)
    parts = quantized((g, g.node("Relu", t)), folder, Widths(*bits))
    model = to_qdq(*parts)
    assert_same_integers(model, parts[2], images(parts[0], 2, seed))
    assert read_back(model.SerializeToString(deterministic=True), folder) == exported(*parts)


def read_back(content: bytes, folder: Path) -> bytes:
    """The file that comes out when ``content`` is compiled as it is."""
    path = folder / "again.onnx"
    path.write_bytes(content)
    network = load_network(path)[1]
    scheme = calibrate(network, None, Widths())
    return exported(network, scheme, quantize(network, scheme))


@pytest.mark.parametrize("widths", [(8, 8), (4, 4), (3, 5), (2, 2)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_qdq_to_plan_to_qdq_gives_the_same_bytes(
    tmp_path: Path, graph: object, widths: tuple[int, int]
) -> None:
    parts = quantized(graph(), tmp_path, Widths(*widths))  # type: ignore[operator]
    content = exported(*parts)
    assert read_back(content, tmp_path) == content


@pytest.mark.parametrize("widths", [(8, 8), (4, 4), (3, 5)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_qonnx_to_plan_to_qonnx_gives_the_same_bytes(
    tmp_path: Path, graph: object, widths: tuple[int, int]
) -> None:
    parts = quantized(graph(), tmp_path, Widths(*widths))  # type: ignore[operator]
    content = to_qonnx(to_qdq(*parts)).SerializeToString(deterministic=True)
    path = tmp_path / "qonnx.onnx"
    path.write_bytes(content)
    network = load_network(path)[1]
    scheme = calibrate(network, None, Widths())
    integer = quantize(network, scheme)
    assert (
        to_qonnx(to_qdq(network, scheme, integer)).SerializeToString(deterministic=True) == content
    )
    assert exported(network, scheme, integer) == exported(*parts)


@pytest.mark.parametrize(
    ("bits", "kind", "size"),
    [(2, TensorProto.INT2, 8), (4, TensorProto.INT4, 15), (8, TensorProto.INT8, 30)],
)
def test_narrow_weights_lie_packed(tmp_path: Path, bits: int, kind: int, size: int) -> None:
    g = OnnxGraph(("batch", 5, 4, 3))
    parts = quantized(
        (g, g.node("Conv", "x", g.random(6, 5, 1, 1), name="c")), tmp_path, Widths(bits)
    )
    model = to_qdq(*parts)
    tensor = next(t for t in model.graph.initializer if t.name == "c/weights")
    assert tensor.data_type == kind
    assert len(tensor.raw_data) == size
    codes = parts[2].layers[0].weights
    np.testing.assert_array_equal(numpy_helper.to_array(tensor).astype(np.int8), codes)


def test_three_bits_are_stored_in_eight_with_the_real_range(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 5, 4, 3))
    conv = g.node("Conv", "x", g.random(6, 5, 1, 1), name="c")
    model = to_qdq(*quantized((g, conv), tmp_path, Widths(3)))
    clip = next(n for n in model.graph.node if n.op_type == "Clip" and n.input[0] == "c/weights")
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    assert [int(constants[name]) for name in clip.input[1:]] == [-4, 3]


def test_edited_function_is_refused(tmp_path: Path) -> None:
    """The name alone does not make an operator of ours: its body says what it computes."""
    from qmc.errors import ModelError

    model = to_qdq(*quantized(chain(), tmp_path, Widths()))
    model.functions[0].node[0].op_type = "Sub"
    path = tmp_path / "edited.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"edited\.onnx: its functions of domain 'qmc'"):
        load_network(path)


def test_metadata_of_another_graph_is_not_believed(tmp_path: Path) -> None:
    """A scale changed in the graph wins over the double-precision one in the metadata."""
    model = to_qdq(*quantized(chain(), tmp_path, Widths()))
    for tensor in model.graph.initializer:
        if tensor.name.startswith("x/scale"):
            tensor.CopyFrom(numpy_helper.from_array(np.float32(0.5), tensor.name))
    path = tmp_path / "edited.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_network(path)[1].given_ranges["x"].scale == 0.5
