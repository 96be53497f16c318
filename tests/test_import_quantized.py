"""Models that arrive quantized: their integers and scales are kept."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from qmc.errors import UnsupportedOpError
from qmc.frontend import load_network
from qmc.layer import Op
from tests.float_network import run_network
from tests.onnx_graph import OnnxGraph, run_onnx

RANGES = {
    TensorProto.INT8: (-128, 127, 8),
    TensorProto.INT4: (-8, 7, 4),
    TensorProto.UINT4: (0, 15, 4),
    TensorProto.INT2: (-2, 1, 2),
    TensorProto.UINT2: (0, 3, 2),
}


def activation(g: OnnxGraph, x: str, scale: float, zero: int, kind: type = np.uint8) -> str:
    """QuantizeLinear and DequantizeLinear of ``x``."""
    s, z = g.const(np.float32(scale)), g.const(kind(zero))
    return g.node("DequantizeLinear", g.node("QuantizeLinear", x, s, z), s, z)


def weights(g: OnnxGraph, kind: int, shape: tuple[int, ...], zero: int, axis: int | None) -> str:
    """Random integer weights behind a DequantizeLinear."""
    low, high, _ = RANGES[kind]
    codes = g.rng.integers(low, high + 1, shape)
    codes.flat[:2] = low, high
    count = shape[axis] if axis is not None else 1
    dims = [count] if axis is not None else []
    scales = g.rng.uniform(0.02, 0.05, dims).astype(np.float32)
    w = g.const(helper.make_tensor("", kind, shape, codes.reshape(-1).tolist()))
    z = g.const(helper.make_tensor("", kind, dims, [zero] * count))
    attributes = {} if axis is None else {"axis": axis}
    return g.node("DequantizeLinear", w, g.const(scales), z, **attributes)


def bias(g: OnnxGraph, size: int) -> str:
    """An int32 bias behind a DequantizeLinear."""
    codes = g.const(g.rng.integers(-900, 900, size).astype(np.int32))
    return g.node("DequantizeLinear", codes, g.const(np.float32(0.0008)))


def small_cnn(kind: int, zero: int, axis: int | None) -> tuple[OnnxGraph, str]:
    g = OnnxGraph(("batch", 3, 8, 6), opset=25)
    t = activation(g, "x", 0.03, 128)
    w = weights(g, kind, (4, 3, 3, 2), zero, axis)
    t = g.node("Conv", t, w, bias(g, 4), pads=[1, 0, 1, 1], strides=[1, 2])
    t = first = activation(g, g.node("Relu", t), 0.05, 0)
    # No Relu here: the range begins at zero, which is one.
    w = weights(g, kind, (4, 1, 3, 3), zero, axis)
    t = g.node("Conv", t, w, bias(g, 4), pads=[1, 1, 1, 1], group=4)
    t = activation(g, t, 0.04, -128, np.int8)
    t = activation(g, g.node("Add", t, first), 0.06, 3)
    t = activation(g, g.node("GlobalAveragePool", t), 0.06, 3)
    t = activation(g, g.node("Flatten", t), 0.06, 3)
    w = weights(g, kind, (5, 4), zero, axis)
    t = g.node("Gemm", t, w, bias(g, 5), transB=1)
    return g, activation(g, t, 0.02, 100)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize(
    ("kind", "zero"),
    [
        (TensorProto.INT8, 0),
        (TensorProto.INT4, 0),
        (TensorProto.UINT4, 8),
        (TensorProto.INT2, 0),
        (TensorProto.UINT2, 2),
    ],
)
def test_quantized_cnn_equals_onnx(tmp_path: Path, kind: int, zero: int, axis: int | None) -> None:
    g, output = small_cnn(kind, zero, axis)
    path = g.save(output, tmp_path)
    _, network = load_network(path)
    assert [layer.op for layer in network.layers] == [
        Op.CONV, Op.CONV, Op.ADD, Op.AVERAGE_POOL, Op.DENSE,
    ]  # fmt: skip
    assert network.layers[1].clamp == pytest.approx((0.0, 255 * 0.04))
    assert set(network.given_ranges) == set(network.tensors)
    for parameters in network.parameters.values():
        assert parameters.given is not None
        assert parameters.given.bits == RANGES[kind][2]
        scales = parameters.given.scales[:, None, None, None]
        np.testing.assert_allclose(parameters.weights, parameters.given.codes * scales, rtol=1e-6)
    data = np.random.default_rng(3).standard_normal((1, 3, 8, 6)).astype(np.float32) * 2
    found = run_network(network, data, fake=True)
    # A float32 sum on the edge of a code may fall on either side of it: one step of the output.
    np.testing.assert_allclose(found, run_onnx(path, data), atol=0.0201)


def test_given_range_counts_from_the_unsigned_code(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 3, 4, 5))
    t = g.node("Tanh", activation(g, "x", 0.5, -28, np.int8))
    _, network = load_network(g.save(t, tmp_path))
    given = network.given_ranges["x"]
    assert (given.bits, given.scale, given.zero_point) == (8, 0.5, 100)


def test_asymmetric_weights_that_fit_are_shifted(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 3, 4, 5), opset=21)
    w = weights(g, TensorProto.UINT4, (4, 3, 1, 1), 3, 0)
    _, network = load_network(g.save(g.node("Conv", "x", w), tmp_path))
    given = network.parameters[network.layers[0].name].given
    assert given is not None
    assert (given.codes.min(), given.codes.max(), given.bits) == (-3, 12, 5)


def test_asymmetric_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 1, 4, 5))
    codes = g.const(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    w = g.node("DequantizeLinear", codes, g.const(np.float32(0.1)), g.const(np.uint8(3)))
    path = g.save(g.node("Conv", "x", w, name="c"), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"'c'.*-3\.\.252; allowed: -128\.\.127"):
        load_network(path)


def test_uint8_weights_around_128_become_int8(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 1, 4, 5))
    codes = g.const(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1))
    w = g.node("DequantizeLinear", codes, g.const(np.float32(0.1)), g.const(np.uint8(128)))
    _, network = load_network(g.save(g.node("Conv", "x", w, name="c"), tmp_path))
    given = network.parameters["c"].given
    assert given is not None
    assert given.codes.reshape(-1).tolist() == [-128, 127]


def test_blocked_weights_are_refused(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 8), opset=21)
    codes = g.const(g.rng.integers(-8, 8, (8, 4)).astype(ml_dtypes.int4).astype(np.int8))
    w = g.node("DequantizeLinear", codes, g.random(2, 4), axis=0, block_size=4, name="dq")
    path = g.save(g.node("MatMul", "x", w), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"'dq'.*DequantizeLinear"):
        load_network(path)


def test_per_channel_activations_are_refused(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 3, 4, 5))
    s, z = g.const(np.float32([0.1, 0.2, 0.3])), g.const(np.uint8([0, 0, 0]))
    q = g.node("QuantizeLinear", "x", s, z, axis=1, name="q")
    path = g.save(g.node("DequantizeLinear", q, s, z, axis=1), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"'q': operator QuantizeLinear"):
        load_network(path)


def test_quantized_constants_that_are_no_weights_are_plain_numbers(tmp_path: Path) -> None:
    g = OnnxGraph(("batch", 3, 4, 5))
    codes = g.const(np.array([[[2]], [[3]], [[4]]], np.uint8))
    c = g.node("DequantizeLinear", codes, g.const(np.float32(0.5)), g.const(np.uint8(1)))
    _, network = load_network(g.save(g.node("Mul", "x", c), tmp_path))
    weights = network.parameters[network.layers[0].name].weights
    assert weights.reshape(-1).tolist() == [0.5, 1.0, 1.5]


def test_constant_quantized_on_the_way_is_rounded_and_folded(tmp_path: Path) -> None:
    """Per-channel factors behind a pair of their own, as quantizers write expanded gates."""
    g = OnnxGraph((1, 3, 8, 6), opset=25)
    t = activation(g, "x", 0.03, 128)
    w = weights(g, TensorProto.INT8, (4, 3, 3, 2), 0, 0)
    t = activation(g, g.node("Conv", t, w, bias(g, 4)), 0.05, 90)
    factors = g.const(np.array([0.31, 1.26, 5.0, -0.4], np.float32).reshape(1, 4, 1, 1))
    t = g.node("Mul", t, activation(g, factors, 0.02, 25))  # 5.0 and -0.4 round, 5.0 saturates
    path = g.save(activation(g, t, 0.05, 100), tmp_path)
    _, network = load_network(path)
    data = np.random.default_rng(3).uniform(-3, 3, (1, 3, 8, 6)).astype(np.float32)
    found = run_network(network, data, fake=True)
    np.testing.assert_allclose(found, run_onnx(path, data), atol=0.051)


class _Samples(CalibrationDataReader):
    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        self._samples = iter([{"x": rng.standard_normal((1, 3, 8, 6)).astype(np.float32)}] * 2)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._samples, None)


@pytest.mark.parametrize("kind", [QuantType.QInt8, QuantType.QInt4])
def test_model_quantized_by_onnx_runtime_keeps_its_quantization(
    tmp_path: Path, kind: QuantType
) -> None:
    g = OnnxGraph(("batch", 3, 8, 6), opset=21)
    t = g.node("Relu", g.node("Conv", "x", g.random(4, 3, 3, 2), g.random(4)))
    u = g.node("Conv", t, g.random(4, 1, 3, 3), g.random(4), group=4, pads=[1, 1, 1, 1])
    t = g.node("MaxPool", g.node("Concat", t, u, axis=1), kernel_shape=[2, 2])
    t = g.node("Flatten", g.node("GlobalAveragePool", t))
    source = g.save(g.node("Gemm", t, g.random(8, 3), g.random(3)), tmp_path)
    path = tmp_path / "quantized.onnx"
    quantize_static(
        source,
        path,
        _Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=kind,
    )
    _, network = load_network(path)
    assert set(network.given_ranges) == set(network.tensors)
    assert all(p.given is not None for p in network.parameters.values())
    data = np.random.default_rng(6).standard_normal((1, 3, 8, 6)).astype(np.float32)
    step = network.given_ranges[network.output].scale
    found = run_network(network, data, fake=True)
    np.testing.assert_allclose(found, run_onnx(path, data), atol=step * 1.01)
