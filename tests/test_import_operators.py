"""Every supported operator: the extracted network computes what ONNX Runtime computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from qmc.errors import ModelError, UnsupportedOpError
from qmc.frontend import load_network
from qmc.layer import Layer, Op
from qmc.network import Network
from tests.float_network import run_network
from tests.onnx_graph import OnnxGraph, run_onnx

Build = Callable[[OnnxGraph], str]


def check(tmp_path: Path, graph: OnnxGraph, output: str, scale: float = 4.0) -> Network:
    """Import, compare with ONNX Runtime on random inputs, return the network."""
    path = graph.save(output, tmp_path)
    _, network = load_network(path)
    shape = tuple(d if isinstance(d, int) else 1 for d in graph.shape)
    data = (np.random.default_rng(1).standard_normal(shape) * scale).astype(np.float32)
    expected = run_onnx(path, data)
    if network.tensors[network.input].shape != shape and len(shape) == 4:
        data = np.moveaxis(data, -1, 1)  # a channels-last input that became channels-first
    found = run_network(network, data)
    assert found.size == expected.size
    tolerance = 1e-4 * max(1e-3, float(np.abs(expected).max()))
    np.testing.assert_allclose(found.reshape(-1), expected.reshape(-1), atol=tolerance, rtol=0)
    return network


def only(network: Network, op: Op) -> Layer:
    """The one layer, which must have operation ``op``."""
    assert [layer.op for layer in network.layers] == [op]
    return network.layers[0]


def conv(g: OnnxGraph, x: str, outputs: int, inputs: int, k: tuple[int, ...], **a: object) -> str:
    return g.node("Conv", x, g.random(outputs, inputs, *k), g.random(outputs), **a)


def bn(g: OnnxGraph, x: str, channels: int) -> str:
    variance = g.const(g.rng.uniform(0.3, 2, channels).astype(np.float32))
    rest = [g.random(channels, scale=1.0) for _ in range(3)]
    return g.node("BatchNormalization", x, *rest, variance, epsilon=1e-3)


@pytest.mark.parametrize(
    ("channels", "attributes", "kernel"),
    [
        (5, {"pads": [1, 0, 2, 1], "strides": [2, 1]}, (3, 2)),
        (5, {"dilations": [2, 3], "pads": [2, 3, 2, 3]}, (3, 3)),
        (1, {"group": 5, "pads": [1, 1, 1, 1], "strides": [2, 3]}, (3, 3)),
        (5, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (3, 4)),
        (5, {"auto_pad": "SAME_LOWER", "strides": [2, 3]}, (4, 3)),
        (5, {"auto_pad": "VALID", "strides": [3, 2]}, (2, 3)),
    ],
)
def test_conv_windows_equal_onnx(
    tmp_path: Path, channels: int, attributes: dict[str, object], kernel: tuple[int, int]
) -> None:
    g = OnnxGraph(("batch", 5, 9, 11))
    network = check(tmp_path, g, conv(g, "x", 10, channels, kernel, **attributes))
    layer = only(network, Op.CONV)
    assert (layer.bounds.C, layer.bounds.G * layer.bounds.K) == (channels, 10)


def test_conv_without_bias_or_kernel_shape(tmp_path: Path) -> None:
    g = OnnxGraph((1, 4, 6, 5))
    out = g.node("Conv", "x", g.random(6, 2, 3, 3), group=2)
    assert only(check(tmp_path, g, out), Op.CONV).bounds.G == 2


def test_conv_1d_chain_becomes_2d_of_height_one(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 17))
    t = conv(g, "x", 4, 3, (5,), pads=[2, 1], strides=[2])
    t = g.node("Relu", bn(g, t, 4))
    t = g.node("MaxPool", t, kernel_shape=[3], strides=[2], pads=[1, 1])
    u = conv(g, t, 4, 1, (3,), pads=[1, 1], group=4, dilations=[1])
    t = g.node("Relu", g.node("Add", t, u))
    t = g.node("Concat", t, u, axis=1)
    t = g.node("AveragePool", t, kernel_shape=[2])
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    t = g.node("Gemm", t, g.random(5, 8), g.random(5), transB=1)
    network = check(tmp_path, g, t)
    assert [layer.op for layer in network.layers] == [
        Op.CONV, Op.MAX_POOL, Op.CONV, Op.ADD, Op.CONCAT,
        Op.AVERAGE_POOL, Op.AVERAGE_POOL, Op.DENSE,
    ]  # fmt: skip
    assert all(t.shape[2] == 1 for t in network.tensors.values() if len(t.shape) == 4)
    assert network.tensors["x"].shape == (1, 3, 1, 17)


def test_batch_norm_folds_into_conv_and_dense(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 4))
    t = g.node("Relu", bn(g, conv(g, "x", 4, 3, (3, 3)), 4))
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    t = g.node("Relu", bn(g, g.node("Gemm", t, g.random(4, 7), g.random(7)), 7))
    network = check(tmp_path, g, t)
    assert [layer.op for layer in network.layers] == [Op.CONV, Op.AVERAGE_POOL, Op.DENSE]


def test_batch_norm_without_conv_becomes_depthwise(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 4))
    layer = only(check(tmp_path, g, bn(g, "x", 3)), Op.CONV)
    assert layer.is_depthwise
    assert (layer.bounds.R, layer.bounds.S) == (1, 1)


def test_batch_norm_of_a_shared_conv_stays_a_layer(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 4))
    t = conv(g, "x", 4, 3, (1, 1))
    out = g.node("Add", t, bn(g, t, 4))
    network = check(tmp_path, g, out)
    assert [layer.op for layer in network.layers] == [Op.CONV, Op.CONV, Op.ADD]


@pytest.mark.parametrize("limits", [(0.0, 6.0), (-1.0, 1.0), (0.0, None), (None, 2.0), (0.5, 4.0)])
def test_clip_is_fused_into_conv(tmp_path: Path, limits: tuple[float | None, float | None]) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    names = [g.const(np.float32(v)) if v is not None else "" for v in limits]
    t = g.node("Clip", conv(g, "x", 4, 3, (1, 1)), *names)
    low, high = (-np.inf if limits[0] is None else limits[0]), limits[1]
    assert only(check(tmp_path, g, t), Op.CONV).clamp == (low, np.inf if high is None else high)


def test_clip_attributes_of_opset_6_form(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 5, 4), opset=9)
    t = g.node("Clip", conv(g, "x", 4, 3, (1, 1)), min=0.0, max=6.0)
    assert only(check(tmp_path, g, t), Op.CONV).clamp == (0.0, 6.0)


def test_min_and_max_with_constants_are_one_clamp(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    t = g.node("Max", g.const(np.float32(-0.5)), conv(g, "x", 4, 3, (1, 1)))
    t = g.node("Min", t, g.const(np.float32(1.5)))
    assert only(check(tmp_path, g, t), Op.CONV).clamp == (-0.5, 1.5)


def _hard_swish_op(g: OnnxGraph) -> str:
    return g.node("HardSwish", "x")


def _hard_swish_paddle(g: OnnxGraph) -> str:
    t = g.node("Clip", g.node("Add", "x", g.const(np.float32(3))), g.const(np.float32(0)),
               g.const(np.float32(6)))  # fmt: skip
    return g.node("Div", g.node("Mul", "x", t), g.const(np.float32(6)))


def _hard_swish_torch(g: OnnxGraph) -> str:
    t = g.node("HardSigmoid", "x", alpha=1 / 6, beta=0.5)
    return g.node("Mul", t, "x")


def _hard_swish_reciprocal(g: OnnxGraph) -> str:
    t = g.node("Add", g.const(np.float32([3.0])), "x")
    t = g.node("Min", g.node("Relu", t), g.const(np.float32(6)))
    return g.node("Mul", g.node("Mul", t, g.const(np.float32(1 / 6))), "x")


@pytest.mark.parametrize(
    "build", [_hard_swish_op, _hard_swish_paddle, _hard_swish_torch, _hard_swish_reciprocal]
)
def test_hard_swish_in_any_spelling_is_one_lookup(tmp_path: Path, build: Build) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    assert only(check(tmp_path, g, build(g)), Op.LOOKUP).function == "hard_swish"


@pytest.mark.parametrize(
    ("op", "attributes", "function"),
    [
        ("Sigmoid", {}, "sigmoid"),
        ("Tanh", {}, "tanh"),
        ("Relu", {}, "relu"),
        ("HardSigmoid", {}, "hard_sigmoid:0.2:0.5"),
        ("LeakyRelu", {"alpha": 0.1}, "leaky_relu:0.1"),
        ("Elu", {"alpha": 0.7}, "elu:0.7"),
        ("Elu", {}, "elu:1"),
    ],
)
def test_function_becomes_lookup(
    tmp_path: Path, op: str, attributes: dict[str, float], function: str
) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    assert only(check(tmp_path, g, g.node(op, "x", **attributes)), Op.LOOKUP).function == function


def test_clip_alone_is_a_lookup(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    t = g.node("Clip", "x", g.const(np.float32(-0.25)), g.const(np.float32(1.5)))
    assert only(check(tmp_path, g, t), Op.LOOKUP).function == "clip:-0.25:1.5"


@pytest.mark.parametrize("gate_first", [False, True])
def test_squeeze_excite_is_a_broadcast_mul(tmp_path: Path, gate_first: bool) -> None:
    g = OnnxGraph(("b", 4, 6, 5))
    s = g.node("Relu", conv(g, g.node("GlobalAveragePool", "x"), 2, 4, (1, 1)))
    s = g.node("HardSigmoid", conv(g, s, 4, 2, (1, 1)))
    t = g.node("Mul", s, "x") if gate_first else g.node("Mul", "x", s)
    network = check(tmp_path, g, t)
    assert network.layers[-1].op is Op.MUL
    assert network.layers[-1].inputs[0] == "x"


def _swish(g: OnnxGraph) -> str:
    return g.node("Mul", "x", g.node("Sigmoid", "x"))


def _gelu(g: OnnxGraph) -> str:
    t = g.node("Erf", g.node("Div", "x", g.const(np.float32(2**0.5))))
    t = g.node("Mul", "x", g.node("Add", t, g.const(np.float32(1))))
    return g.node("Mul", t, g.const(np.float32(0.5)))


def _gelu_tanh(g: OnnxGraph) -> str:
    cube = g.node("Mul", g.node("Pow", "x", g.const(np.float32(3))), g.const(np.float32(0.044715)))
    t = g.node("Mul", g.node("Add", "x", cube), g.const(np.float32((2 / np.pi) ** 0.5)))
    t = g.node("Add", g.node("Tanh", t), g.const(np.float32(1)))
    return g.node("Mul", g.node("Mul", "x", g.const(np.float32(0.5))), t)


def _softplus(g: OnnxGraph) -> str:
    return g.node("Log", g.node("Add", g.node("Exp", "x"), g.const(np.float32(1))))


def _mish(g: OnnxGraph) -> str:
    return g.node("Mul", g.node("Tanh", g.node("Softplus", "x")), "x")


@pytest.mark.parametrize("build", [_swish, _gelu, _gelu_tanh, _softplus, _mish])
def test_function_spelled_as_arithmetic_is_one_lookup(tmp_path: Path, build: Build) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    layer = only(check(tmp_path, g, build(g)), Op.LOOKUP)
    assert layer.function == build.__name__.removeprefix("_")


@pytest.mark.parametrize(
    ("op", "attributes", "function", "opset"),
    [
        ("Mish", {}, "mish", 18),
        ("Softplus", {}, "softplus", 9),
        ("Gelu", {}, "gelu", 20),
        ("Gelu", {"approximate": "tanh"}, "gelu_tanh", 20),
        ("Swish", {}, "swish", 24),
    ],
)
def test_younger_function_becomes_lookup(
    tmp_path: Path, op: str, attributes: dict[str, str], function: str, opset: int
) -> None:
    g = OnnxGraph(("b", 3, 9), opset=opset)  # in one dimension
    out = g.node(op, conv(g, "x", 4, 3, (3,)), **attributes)
    assert check(tmp_path, g, out).layers[-1].function == function


def test_swish_whose_gate_has_a_quantization_of_its_own_keeps_it(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    scale, zero = g.const(np.float32(1 / 256)), g.const(np.uint8(0))
    gate = g.node("QuantizeLinear", g.node("Sigmoid", "x"), scale, zero)
    out = g.node("Mul", "x", g.node("DequantizeLinear", gate, scale, zero))
    _, network = load_network(g.save(out, tmp_path))
    assert [layer.op for layer in network.layers] == [Op.LOOKUP, Op.MUL]
    assert network.given_ranges[network.layers[0].output].scale == 1 / 256


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1), (1,)])
def test_prelu_is_leaky_or_a_sum_of_both_halves(tmp_path: Path, shape: tuple[int, ...]) -> None:
    g = OnnxGraph(("b", 3, 5, 6))
    t = g.node("Conv", "x", g.random(4, 3, 1, 1), g.random(4))
    if shape == (4,):  # along the last axis: not the channels
        t = g.node("MaxPool", t, kernel_shape=[1, 3])
        path = g.save(g.node("PRelu", t, g.random(*shape)), tmp_path)
        with pytest.raises(UnsupportedOpError, match="PRelu"):
            load_network(path)
        return
    network = check(tmp_path, g, g.node("PRelu", t, g.random(*shape)))
    ops = [layer.op for layer in network.layers]
    halves = [Op.CONV, Op.LOOKUP, Op.CONV, Op.LOOKUP, Op.ADD]
    assert ops == ([Op.CONV, Op.LOOKUP] if shape == (1,) else halves)


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (4, 1, 1), (1, 4, 1, 1)])
def test_constant_arithmetic_folds_into_the_conv_before(
    tmp_path: Path, op: str, shape: tuple[int, ...]
) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    value = g.const(g.rng.uniform(0.5, 2, shape).astype(np.float32))
    assert only(check(tmp_path, g, g.node(op, conv(g, "x", 4, 3, (3, 1)), value)), Op.CONV)


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
def test_constant_arithmetic_alone_is_a_depthwise_conv(tmp_path: Path, op: str) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    value = g.const(g.rng.uniform(0.5, 2, (1, 4, 1, 1)).astype(np.float32))
    assert only(check(tmp_path, g, g.node(op, "x", value)), Op.CONV).is_depthwise


def test_constant_added_to_a_shared_conv_is_a_layer_of_its_own(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 5, 4))
    t = g.node("Conv", "x", g.random(4, 3, 1, 1))
    network = check(tmp_path, g, g.node("Add", g.node("Add", t, g.random(4, 1, 1)), t))
    assert [layer.op for layer in network.layers] == [Op.CONV, Op.CONV, Op.ADD]


def test_constant_minus_activation_is_a_depthwise_conv(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    t = g.node("Sub", g.const(np.float32(1.5)), "x")
    assert only(check(tmp_path, g, t), Op.CONV).is_depthwise


def test_constant_arithmetic_on_a_vector(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 6))
    t = g.node("Tanh", g.node("Mul", "x", g.random(1, 6)))
    network = check(tmp_path, g, t)
    assert [layer.op for layer in network.layers] == [Op.RESHAPE, Op.CONV, Op.RESHAPE, Op.LOOKUP]


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 3]}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("AveragePool", {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ("AveragePool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("AveragePool", {"kernel_shape": [3, 2], "pads": [1, 1, 0, 1], "count_include_pad": 1}),
        ("AveragePool", {"kernel_shape": [3, 4], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
        ("ReduceMean", {"axes": [2, 3]}),
        ("ReduceMean", {"axes": [-1, -2], "keepdims": 0}),
    ],
)
def test_pool_equals_onnx(tmp_path: Path, op: str, attributes: dict[str, object]) -> None:
    g = OnnxGraph(("b", 3, 10, 7), opset=17)
    network = check(tmp_path, g, g.node(op, "x", **attributes))
    assert only(network, Op.MAX_POOL if "Max" in op else Op.AVERAGE_POOL)


def test_residual_add_with_relu_is_one_layer(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    t = g.node("Relu", g.node("Add", conv(g, "x", 4, 4, (1, 1)), "x"))
    network = check(tmp_path, g, t)
    assert network.layers[-1].op is Op.ADD
    assert network.layers[-1].clamp == (0.0, np.inf)


def test_sum_is_a_chain_of_adds(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    t = g.node("Sum", "x", g.node("Tanh", "x"), g.node("Sigmoid", "x"))
    network = check(tmp_path, g, t)
    assert [layer.op for layer in network.layers[2:]] == [Op.ADD, Op.ADD]


def test_value_added_to_itself(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    assert only(check(tmp_path, g, g.node("Add", "x", "x")), Op.ADD).inputs == ("x", "x")


def test_concat_keeps_order_and_repeats(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 2, 4, 3))
    u = g.node("Tanh", "x")
    network = check(tmp_path, g, g.node("Concat", u, "x", u, axis=1))
    assert network.layers[-1].inputs == (u, "x", u)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("factors", [{}, {"alpha": 0.5, "beta": 2.0}])
def test_gemm_equals_onnx(tmp_path: Path, transposed: bool, factors: dict[str, float]) -> None:
    g = OnnxGraph(("b", 7))
    shape = (5, 7) if transposed else (7, 5)
    t = g.node("Gemm", "x", g.random(*shape), g.random(5), transB=int(transposed), **factors)
    layers = check(tmp_path, g, g.node("Relu", t)).layers
    assert layers[-1].op is Op.DENSE
    assert layers[-1].clamp == (0.0, np.inf)


def test_matmul_and_add_is_a_dense_layer(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 7))
    t = g.node("Add", g.random(5), g.node("MatMul", "x", g.random(7, 5)))
    assert only(check(tmp_path, g, t), Op.DENSE).bounds.K == 5


def test_flatten_of_an_image_is_a_real_reshape(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 4, 2))
    t = g.node("Gemm", g.node("Flatten", g.node("Relu", "x")), g.random(24, 5), g.random(5))
    network = check(tmp_path, g, t)
    assert [layer.op for layer in network.layers] == [Op.LOOKUP, Op.RESHAPE, Op.DENSE]
    assert network.layers[1].perm == (0, 1, 2, 3)


def test_channels_last_flatten_keeps_its_transposition(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 4, 2))
    t = g.node("Transpose", g.node("Relu", "x"), perm=[0, 2, 3, 1])
    t = g.node("Reshape", t, g.const(np.array([0, -1], np.int64)))
    network = check(tmp_path, g, g.node("Gemm", t, g.random(24, 5), g.random(5)))
    assert network.layers[1].perm == (0, 2, 3, 1)
    assert network.tensors[network.layers[1].output].shape == (1, 24)


def test_data_movement_that_moves_nothing_vanishes(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    t = g.node("Transpose", "x", perm=[0, 2, 3, 1])
    t = g.node("Transpose", t, perm=[0, 3, 1, 2])
    t = g.node("Unsqueeze", g.node("GlobalMaxPool", t), g.const(np.array([2], np.int64)))
    t = g.node("Squeeze", t, g.const(np.array([2, 3], np.int64)))
    t = g.node("Transpose", g.node("Identity", t), perm=[0, 2, 1])
    t = g.node("Dropout", g.node("Reshape", t, g.const(np.array([1, -1], np.int64))))
    assert only(check(tmp_path, g, t), Op.MAX_POOL)


def test_reshape_by_computed_shape_is_folded(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 5, 3))
    t = g.node("GlobalAveragePool", "x")
    batch = g.node("Gather", g.node("Shape", t), g.const(np.array(0, np.int64)))
    batch = g.node("Unsqueeze", batch, g.const(np.array([0], np.int64)))
    shape = g.node("Concat", batch, g.const(np.array([-1], np.int64)), axis=0)
    assert only(check(tmp_path, g, g.node("Reshape", t, shape)), Op.AVERAGE_POOL)


def test_channels_last_input_becomes_channels_first(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 6, 5, 3))
    t = conv(g, g.node("Transpose", "x", perm=[0, 3, 1, 2]), 4, 3, (3, 3))
    network = check(tmp_path, g, t)
    assert network.tensors[network.input].shape == (1, 3, 6, 5)
    assert only(network, Op.CONV)


@pytest.mark.parametrize("shape", [("b", 7), ("b", 7, 3, 2)])
def test_softmax_over_channels(tmp_path: Path, shape: tuple[object, ...]) -> None:
    g = OnnxGraph(shape)
    assert only(check(tmp_path, g, g.node("Softmax", "x", axis=1)), Op.SOFTMAX)


def test_softmax_of_old_opset(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 7), opset=11)
    assert only(check(tmp_path, g, g.node("Softmax", "x")), Op.SOFTMAX)


@pytest.mark.parametrize("consumer", ["Conv", "AveragePool", "MaxPool"])
def test_pad_is_folded_into_its_reader(tmp_path: Path, consumer: str) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    pads = g.const(np.array([0, 0, 0, 1, 0, 0, 1, 2], np.int64))
    t = g.node("Pad", g.node("Relu", "x"), pads)
    if consumer == "Conv":
        t = conv(g, t, 4, 3, (3, 3), strides=[2, 2])
    else:
        t = g.node(consumer, t, kernel_shape=[3, 3], strides=[2, 2])
    network = check(tmp_path, g, t)
    assert len(network.layers) == 2
    assert network.layers[1].pads[:2] == (0, 1)


def test_names_with_hostile_characters_are_kept(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    name = 'a/b "quoted" <script> \n */ \u00e9'
    t = g.node("Relu", conv(g, "x", 4, 3, (1, 1), name=name))
    network = check(tmp_path, g, g.node("Tanh", t, name=f"{name}."))
    assert [layer.name for layer in network.layers] == [name, f"{name}."]


def test_equal_names_become_unique(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Tanh", g.node("Sigmoid", "x", name="a"), name="a")
    _, network = load_network(g.save(t, tmp_path))
    assert [layer.name for layer in network.layers] == ["a", "a_2"]


def test_unnamed_nodes_get_stable_names(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Relu", conv(g, "x", 4, 3, (1, 1), name=""), name="")
    network = check(tmp_path, g, g.node("Tanh", t, name=""))
    assert [layer.name for layer in network.layers] == ["Conv_0", "Tanh_2"]
    assert network.layers[0].source == ("Conv_0", "Relu_1")


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Tanh", g.node("Relu", conv(g, "x", 4, 3, (1, 1))))
    expected = check(tmp_path, g, t)
    model = g.model(t)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    path = tmp_path / "reversed.onnx"
    path.write_bytes(model.SerializeToString())
    assert load_network(path)[1].layers == expected.layers


def test_tensors_have_the_names_of_the_file(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    c = g.node("Relu", conv(g, "x", 4, 3, (1, 1)))
    t = g.node("Flatten", g.node("GlobalAveragePool", c))
    network = check(tmp_path, g, t)
    assert (network.input, network.layers[0].output, network.output) == ("x", c, t)


def ints(g: OnnxGraph, *values: int) -> str:
    return g.const(np.array(values, np.int64))


def dimension(g: OnnxGraph, x: str, axis: int) -> str:
    """One dimension of ``x`` as exporters compute it, of shape (1)."""
    size = g.node("Gather", g.node("Shape", x), g.const(np.array(axis, np.int64)))
    return g.node("Unsqueeze", size, ints(g, 0))


@pytest.mark.parametrize("groups", [2, 3])
def test_channel_shuffle_equals_onnx(tmp_path: Path, groups: int) -> None:
    g = OnnxGraph(("b", 6, 4, 5))
    t = g.node("Relu", "x")
    t = g.node("Reshape", t, ints(g, 1, groups, 6 // groups, 4, 5))
    t = g.node("Transpose", t, perm=[0, 2, 1, 3, 4])
    t = conv(g, g.node("Reshape", t, ints(g, 1, 6, 4, 5)), 4, 6, (3, 2))
    network = check(tmp_path, g, t)
    assert [layer.op for layer in network.layers] == [Op.LOOKUP, Op.SLICE, Op.CONV]
    assert network.layers[1].interleave == groups


def test_channel_shuffle_with_computed_shapes_equals_onnx(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 6, 4, 5))
    t = g.node("Relu", "x")
    sizes = [dimension(g, t, axis) for axis in range(4)]
    half = g.node("Div", sizes[1], ints(g, 2))
    view = g.node("Concat", sizes[0], ints(g, 2), half, *sizes[2:], axis=0)
    moved = g.node("Transpose", g.node("Reshape", t, view), perm=[0, 2, 1, 3, 4])
    t = g.node("Reshape", moved, g.node("Concat", *sizes, axis=0))
    check(tmp_path, g, conv(g, t, 6, 1, (3, 3), group=6))


@pytest.mark.parametrize("is_gate_first", [False, True])
def test_expanded_gate_is_broadcast_by_the_product(tmp_path: Path, is_gate_first: bool) -> None:
    g = OnnxGraph(("b", 4, 6, 5))
    x = g.node("Relu", "x")
    gate = g.node("Sigmoid", conv(g, g.node("GlobalAveragePool", x), 4, 4, (1, 1)))
    gate = g.node("Expand", gate, g.node("Shape", x))
    t = g.node("Mul", *((gate, x) if is_gate_first else (x, gate)))
    assert check(tmp_path, g, t).layers[-1].op is Op.MUL


def test_expand_before_another_operator_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 4, 6, 5))
    x = g.node("Relu", "x")
    wide = g.node("Expand", g.node("GlobalAveragePool", x), g.node("Shape", x), name="wide")
    path = g.save(g.node("Concat", x, wide, axis=1), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"node 'wide': operator Expand.*before a Mul"):
        load_network(path)


def test_pads_computed_from_constants_are_folded(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    rest = g.node("ConstantOfShape", ints(g, 4), value=helper.make_tensor("v", 7, [1], [0]))
    pairs = g.node("Reshape", g.node("Concat", ints(g, 0, 1, 2, 1), rest, axis=0), ints(g, -1, 2))
    back = g.node("Slice", pairs, ints(g, -1), ints(g, -(1 << 60)), ints(g, 0), ints(g, -1))
    pads = g.node("Reshape", g.node("Transpose", back, perm=[1, 0]), ints(g, -1))
    t = conv(g, g.node("Pad", "x", g.node("Cast", pads, to=7)), 4, 3, (3, 3))
    assert only(check(tmp_path, g, t), Op.CONV).pads == (2, 0, 1, 1)


def test_huge_constant_of_shape_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Mul", "x", g.node("ConstantOfShape", ints(g, 1 << 20, 1 << 20), name="huge"))
    with pytest.raises(ModelError, match=r"huge|not valid"):
        load_network(g.save(t, tmp_path))


@pytest.mark.parametrize("keepdims", [0, 1])
def test_maximum_over_the_image_is_a_pool(tmp_path: Path, keepdims: int) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("ReduceMax", g.node("Tanh", "x"), axes=[2, 3], keepdims=keepdims)
    assert check(tmp_path, g, t).layers[1].op is Op.MAX_POOL


def test_means_over_width_then_height_are_pools(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("ReduceMean", g.node("Tanh", "x"), axes=[3], keepdims=0)
    t = g.node("ReduceMean", t, axes=[2], keepdims=0)
    pools = [layer for layer in check(tmp_path, g, t).layers if layer.op is Op.AVERAGE_POOL]
    assert [(p.bounds.R, p.bounds.S) for p in pools] in ([(1, 5), (6, 1)], [(1, 5), (1, 6)])


def test_average_pool_without_pads_ignores_count_include_pad(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 8))
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}
    t = g.node("AveragePool", "x", count_include_pad=1, **window)
    assert only(check(tmp_path, g, t), Op.AVERAGE_POOL).bounds.P == 3


def test_constant_image_added_is_refused_with_the_rule(tmp_path: Path) -> None:
    g = OnnxGraph(("b", 3, 6, 5))
    t = g.node("Add", g.node("Tanh", "x"), g.random(1, 3, 6, 5), name="bias")
    with pytest.raises(
        UnsupportedOpError, match=r"node 'bias'.*constant number or one per channel"
    ):
        load_network(g.save(t, tmp_path))
