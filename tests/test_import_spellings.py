"""Quantized models in other spellings than int8 QDQ keep their scales, zero points and widths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from qmc.calibrate import calibrate
from qmc.encodings import apply_encodings, encodings_text, read_encodings
from qmc.errors import SchemeError, UnsupportedOpError
from qmc.frontend import import_onnx, load_network
from qmc.network import Network
from qmc.quantize import quantize
from qmc.scheme import WeightRounding
from qmc.widths import Widths
from tests.float_network import run_network
from tests.onnx_graph import OnnxGraph, run_onnx

QONNX = "qonnx.custom_op.general"


def pair(g: OnnxGraph, x: str, scale: float, zero: int, kind: int) -> str:
    """QuantizeLinear and DequantizeLinear with codes of an ONNX type."""
    s, z = g.const(np.float32(scale)), g.const(helper.make_tensor("", kind, [], [zero]))
    return g.node("DequantizeLinear", g.node("QuantizeLinear", x, s, z), s, z)


def sample(shape: tuple[int, ...], scale: float = 2.0) -> NDArray[np.float32]:
    return (np.random.default_rng(3).standard_normal(shape) * scale).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "zero", "bits", "unsigned"),
    [
        (TensorProto.UINT4, 5, 4, 5),
        (TensorProto.INT4, -3, 4, 5),
        (TensorProto.UINT2, 1, 2, 1),
        (TensorProto.INT2, 0, 2, 2),
        (TensorProto.INT16, -100, 16, 32668),
        (TensorProto.UINT16, 30000, 16, 30000),
    ],
)
def test_activations_of_every_type_keep_their_quantization(
    tmp_path: Path, kind: int, zero: int, bits: int, unsigned: int
) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=25)
    t = pair(g, "x", 0.03, 128, TensorProto.UINT8)
    t = g.node("Conv", t, g.random(4, 3, 2, 3))
    scale = 3.0 / (1 << bits)
    path = g.save(pair(g, t, scale, zero, kind), tmp_path)
    network = load_network(path)[1]
    given = network.given_ranges[network.output]
    assert (given.bits, given.zero_point) == (bits, unsigned)
    assert given.scale == np.float32(scale)
    data = sample((1, 3, 6, 5))
    found = run_network(network, data, fake=True)
    np.testing.assert_allclose(found, run_onnx(path, data), atol=scale * 1.01)


def test_clips_of_codes_are_widths(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=21)
    s, z = g.const(np.float32(0.4)), g.const(np.int8(-1))
    low, high = g.const(np.int8(-4)), g.const(np.int8(3))
    q = g.node("Clip", g.node("QuantizeLinear", "x", s, z), low, high)
    t = g.node("DequantizeLinear", q, s, z)
    codes = g.const(g.rng.integers(-15, 16, (4, 3, 2, 3)).astype(np.int8))
    w = g.node("Clip", codes, g.const(np.int8(-15)), g.const(np.int8(15)))
    t = g.node("Conv", t, g.node("DequantizeLinear", w, g.const(np.float32(0.05))), name="c")
    path = g.save(t, tmp_path)
    network = load_network(path)[1]
    given = network.given_ranges["x"]
    assert (given.bits, given.zero_point) == (3, 3)
    weights = network.parameters["c"].given
    assert weights is not None
    assert weights.bits == 5
    data = sample((1, 3, 6, 5))
    np.testing.assert_allclose(
        run_network(network, data, fake=True), run_onnx(path, data), atol=1e-4
    )


def test_clip_of_codes_to_no_width_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=21)
    s, z = g.const(np.float32(0.4)), g.const(np.uint8(1))
    q = g.node("QuantizeLinear", "x", s, z)
    q = g.node("Clip", q, g.const(np.uint8(2)), g.const(np.uint8(9)), name="k")
    t = g.node("Conv", g.node("DequantizeLinear", q, s, z), g.random(2, 3, 1, 1))
    with pytest.raises(UnsupportedOpError, match=r"'k'.*2\.\.9; allowed: 0\.\.2\^b-1"):
        load_network(g.save(t, tmp_path))


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_pairs_around_a_pad_fold_with_it(tmp_path: Path, op: str) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=17)
    t = pair(g, "x", 0.03, 120, TensorProto.UINT8)
    t = pair(g, g.node("Relu", g.node("Conv", t, g.random(4, 3, 2, 3))), 0.02, 0, TensorProto.UINT8)
    t = g.node("Pad", t, g.const(np.array([0, 0, 1, 0, 0, 0, 1, 2])), g.const(np.float32(0)))
    t = pair(g, t, 0.02, 0, TensorProto.UINT8)
    if op == "Conv":
        t = g.node("Conv", t, g.random(2, 4, 3, 3), name="last")
    else:
        t = g.node(op, t, kernel_shape=[2, 3], name="last")
    path = g.save(pair(g, t, 0.02, 10, TensorProto.UINT8), tmp_path)
    network = load_network(path)[1]
    assert network.layers[-1].pads == (1, 0, 1, 2)
    assert set(network.given_ranges) >= {network.input, network.layers[0].output, network.output}
    data = sample((1, 3, 6, 5))
    found = run_network(network, data, fake=True)
    np.testing.assert_allclose(found, run_onnx(path, data), atol=0.0201)


def test_pair_behind_a_pad_must_be_that_before_it(tmp_path: Path) -> None:
    """The pad vanishes into the window, so a second rounding there would be lost."""
    g = OnnxGraph((1, 3, 6, 5), opset=17)
    t = pair(g, "x", 0.03, 120, TensorProto.UINT8)
    t = g.node("Pad", t, g.const(np.array([0, 0, 1, 0, 0, 0, 1, 2])), g.const(np.float32(0)))
    t = pair(g, t, 0.05, 110, TensorProto.UINT8)
    path = g.save(g.node("Conv", t, g.random(2, 3, 3, 3)), tmp_path)
    with pytest.raises(UnsupportedOpError, match="one quantization on both sides"):
        load_network(path)


def q_linear() -> tuple[OnnxGraph, str]:
    g = OnnxGraph((1, 3, 6, 5), opset=17)
    sx, zx = g.const(np.float32(0.03)), g.const(np.uint8(120))
    q = g.node("QuantizeLinear", "x", sx, zx)
    w = g.const(g.rng.integers(-127, 128, (4, 3, 2, 3)).astype(np.int8))
    sw = g.const(g.rng.uniform(0.002, 0.006, 4).astype(np.float32))
    zw = g.const(np.zeros(4, np.int8))
    sy, zy = g.const(np.float32(0.02)), g.const(np.uint8(90))
    b = g.const(g.rng.integers(-3000, 3000, 4).astype(np.int32))
    attributes = {"pads": [1, 0, 0, 1], "strides": [1, 2]}
    q = g.node("QLinearConv", q, sx, zx, w, sw, zw, sy, zy, b, name="conv", **attributes)
    q = g.node("MaxPool", q, kernel_shape=[2, 1])
    q = g.node("Reshape", q, g.const(np.array([1, -1])))
    size = 4 * 5 * 2
    m = g.const(g.rng.integers(-128, 128, (size, 5)).astype(np.int8))
    sm, zm = g.const(np.float32(0.004)), g.const(np.int8(0))
    so, zo = g.const(np.float32(0.03)), g.const(np.uint8(128))
    q = g.node("QLinearMatMul", q, sy, zy, m, sm, zm, so, zo, name="dense")
    return g, g.node("DequantizeLinear", q, so, zo)


def test_q_linear_operators_keep_integers_and_scales(tmp_path: Path) -> None:
    g, output = q_linear()
    path = g.save(output, tmp_path)
    network = load_network(path)[1]
    assert [layer.name for layer in network.layers if layer.has_weights] == ["conv", "dense"]
    assert set(network.given_ranges) >= {"x", network.output}
    conv = network.parameters["conv"].given
    assert conv is not None
    codes = {t.name: t for t in g.initializers}
    np.testing.assert_array_equal(conv.codes, onnx.numpy_helper.to_array(codes["const2"]))
    assert conv.bias is not None
    np.testing.assert_array_equal(conv.bias.codes, onnx.numpy_helper.to_array(codes["const7"]))
    data = sample((1, 3, 6, 5))
    found = run_network(network, data, fake=True)
    np.testing.assert_allclose(found, run_onnx(path, data), atol=0.0601)


@pytest.mark.parametrize("has_scale", [True, False])
def test_integer_convolution_takes_the_scale_behind_it(tmp_path: Path, has_scale: bool) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=17)
    sx, zx = g.const(np.float32(0.03)), g.const(np.uint8(120))
    q = g.node("QuantizeLinear", "x", sx, zx)
    w = g.const(g.rng.integers(-127, 128, (4, 3, 2, 3)).astype(np.int8))
    t = g.node("ConvInteger", q, w, zx, g.const(np.int8(0)), name="conv", pads=[0, 1, 1, 0])
    t = g.node("Cast", t, to=TensorProto.FLOAT)
    if has_scale:
        t = g.node("Mul", t, g.const(g.rng.uniform(1e-4, 2e-4, (1, 4, 1, 1)).astype(np.float32)))
    t = g.node("Relu", t)
    path = g.save(t, tmp_path)
    network = load_network(path)[1]
    assert [layer.name for layer in network.layers] == ["conv"]
    given = network.parameters["conv"].given
    assert given is not None
    assert given.bits == 8
    data = sample((1, 3, 6, 5))
    np.testing.assert_allclose(
        run_network(network, data, fake=True), run_onnx(path, data), rtol=1e-4
    )


def test_integer_matmul_takes_the_scale_behind_it(tmp_path: Path) -> None:
    g = OnnxGraph((1, 12), opset=17)
    sx, zx = g.const(np.float32(0.03)), g.const(np.uint8(120))
    q = g.node("QuantizeLinear", "x", sx, zx)
    w = g.const(g.rng.integers(-127, 128, (12, 5)).astype(np.int8))
    t = g.node("Cast", g.node("MatMulInteger", q, w, zx, name="m"), to=TensorProto.FLOAT)
    t = g.node("Mul", g.const(g.rng.uniform(1e-4, 2e-4, 5).astype(np.float32)), t)
    path = g.save(g.node("Add", t, g.random(5)), tmp_path)
    network = load_network(path)[1]
    assert network.parameters["m"].given is not None
    data = sample((1, 12))
    np.testing.assert_allclose(
        run_network(network, data, fake=True), run_onnx(path, data), rtol=1e-4, atol=1e-5
    )


def test_integer_convolution_of_a_dynamic_input_is_refused(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=17)
    g.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="d"))
    t = g.node("ConvInteger", "q", g.const(np.ones((2, 3, 1, 1), np.int8)), "z", name="c")
    path = g.save(g.node("Cast", t, to=TensorProto.FLOAT), tmp_path)
    with pytest.raises(UnsupportedOpError, match=r"'c'.*must come from a QuantizeLinear"):
        load_network(path)


def quant(
    g: OnnxGraph, x: str, scale: Any, zero: float, bits: int, op: str = "Quant", **attributes: Any
) -> str:
    """A node of QONNX."""
    defaults = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
    constants = [np.float32(scale), np.float32(zero), np.float32(bits)]
    names = [x, *(g.const(value) for value in constants)]
    return g.node(op, *names, domain=QONNX, **(defaults | attributes))


def quantized_like_qonnx(
    x: NDArray[np.float32], scale: Any, zero: float, bits: int, signed: bool, narrow: bool
) -> NDArray[np.float32]:
    """QONNX's definition of IntQuant."""
    low = -(2 ** (bits - 1)) + narrow if signed else 0
    high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
    codes = np.round(np.clip(x / np.float32(scale) + np.float32(zero), low, high))
    return (codes - np.float32(zero)) * np.float32(scale)


@pytest.mark.parametrize("op", ["Quant", "IntQuant"])
@pytest.mark.parametrize(
    ("bits", "zero", "signed", "narrow"),
    [(3, 0, 1, 0), (4, 0, 1, 1), (5, 9, 0, 0), (2, 0, 0, 0), (8, 17, 0, 1), (8, -3, 1, 0)],
)
def test_qonnx_quantizers_keep_everything(
    tmp_path: Path, op: str, bits: int, zero: int, signed: int, narrow: int
) -> None:
    g = OnnxGraph((1, 3, 6, 5), opset=17)
    real = (g.rng.standard_normal((4, 3, 2, 3)) * 0.3).astype(np.float32)
    steps = g.rng.uniform(0.05, 0.1, (4, 1, 1, 1)).astype(np.float32)
    w = quant(g, g.const(real), steps, 0, 4, op, narrow=1)
    t = g.node("Conv", quant(g, "x", 0.02, 0, 8, op), w, name="c")
    t = quant(g, t, 0.3, zero, bits, op, signed=signed, narrow=narrow)
    path = tmp_path / "model.onnx"
    onnx.save(with_domain(g, t), path)
    network = load_network(path)[1]
    given = network.given_ranges[network.output]
    assert (given.bits, given.zero_point) == (bits, zero + (1 << (bits - 1)) * signed)
    assert given.scale == np.float32(0.3)
    weights = network.parameters["c"].given
    assert weights is not None
    assert weights.bits == 4
    np.testing.assert_array_equal(weights.scales, steps.reshape(-1).astype(np.float64))
    expected = quantized_like_qonnx(real, steps, 0, 4, True, True)
    np.testing.assert_allclose(network.parameters["c"].weights, expected, rtol=1e-6)
    data = sample((1, 3, 6, 5), 0.8)
    found = run_network(network, data, fake=True)
    inside = run_network(strip_output(network), data, fake=True).astype(np.float32)
    expected = quantized_like_qonnx(inside, 0.3, zero, bits, bool(signed), bool(narrow))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def strip_output(network: Network) -> Network:
    """The network without clamp and quantization of its output."""
    ranges = {k: v for k, v in network.given_ranges.items() if k != network.output}
    layers = tuple(replace(layer, clamp=None) for layer in network.layers)
    return replace(network, given_ranges=ranges, layers=layers)


def with_domain(g: OnnxGraph, output: str) -> onnx.ModelProto:
    """The model with QONNX's domain; shapes are not inferred across it."""
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, g.shape)
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(g.nodes, "g", [source], [result], g.initializers)
    opsets = [helper.make_opsetid("", g.opset), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def test_bipolar_weights_are_two_codes(tmp_path: Path) -> None:
    g = OnnxGraph((1, 3, 6, 5))
    real = g.rng.standard_normal((4, 3, 2, 3)).astype(np.float32)
    w = g.node("BipolarQuant", g.const(real), g.const(np.float32(0.25)), domain=QONNX)
    path = tmp_path / "model.onnx"
    onnx.save(with_domain(g, g.node("Conv", "x", w, name="c")), path)
    given = load_network(path)[1].parameters["c"].given
    assert given is not None
    assert given.bits == 2
    np.testing.assert_array_equal(given.codes, np.where(real >= 0, 1, -1))


@pytest.mark.parametrize(("mode", "function"), [("FLOOR", np.floor), ("ROUND", np.round)])
@pytest.mark.parametrize("version", [1, 2])
def test_trunc_drops_low_bits(tmp_path: Path, mode: str, function: Any, version: int) -> None:
    """The pooled sums lie on a fine grid; Trunc takes them to a coarse one."""
    g = OnnxGraph((1, 3, 4, 6))
    t = quant(g, "x", 0.125, 0, 6, signed=0)
    t = g.node(
        "Mul", g.node("AveragePool", t, kernel_shape=[2, 2], strides=[2, 2]), g.const(np.float32(4))
    )
    t = quant(g, t, 0.125, 0, 8, signed=0)
    values = [0.125, 0, 8, 6] if version == 1 else [0.125, 0, 8, 0.5, 6]
    constants = [g.const(np.float32(v)) for v in values]
    attributes = {"rounding_mode": mode} | ({} if version == 1 else {"signed": 0, "narrow": 0})
    t = g.node("Trunc", t, *constants, domain=QONNX, **attributes)
    path = tmp_path / "model.onnx"
    onnx.save(with_domain(g, t), path)
    network = load_network(path)[1]
    data = np.abs(sample((1, 3, 4, 6)))
    codes = np.clip(np.round(data / 0.125), 0, 63).reshape(1, 3, 2, 2, 3, 2).sum((3, 5))
    tied = codes % 4 == 2  # round-half-even and the contract's half-up part on ties only
    expected = function(codes / 4) * (0.125 if version == 1 else 0.5)
    found = run_network(network, data, fake=True)
    rows = ~tied if mode == "ROUND" else np.full(tied.shape, True)
    np.testing.assert_allclose(found[rows], expected[rows], atol=1e-5)


@pytest.mark.parametrize(
    ("attributes", "scale", "zero", "bits", "rule"),
    [
        ({"rounding_mode": "FLOOR"}, 0.1, 0, 4, "rounding_mode FLOOR; allowed: HALF_DOWN"),
        ({"rounding_mode": "SOFT"}, 0.1, 0, 4, "rounding_mode SOFT; allowed: ROUND"),
        ({}, [[[[0.1]], [[0.2]], [[0.3]]]], 0, 4, "one scale and zero point per tensor"),
        ({}, 0.0, 0, 4, "scale must be positive"),
        ({}, np.nan, 0, 4, "scale is not finite"),
        ({}, 0.1, 0.5, 4, "zero point must be whole"),
        ({}, 0.1, 9, 4, r"zero point 9; allowed: -8\.\.7"),
        ({}, 0.1, 0, 1, "bipolar activations have no zero"),
        ({}, 0.1, 0, 12, "bit width 12; allowed: 1 to 8"),
        ({}, 0.1, 0, 1 << 20, "bit width 1048576; allowed: 1 to 32"),
    ],
)
def test_qonnx_quantizer_without_integer_form_is_refused(
    tmp_path: Path, attributes: dict[str, Any], scale: Any, zero: float, bits: int, rule: str
) -> None:
    g = OnnxGraph((1, 3, 6, 5))
    t = quant(g, "x", scale, zero, bits, name="q", **attributes)
    path = tmp_path / "model.onnx"
    onnx.save(with_domain(g, g.node("Conv", t, g.random(2, 3, 1, 1))), path)
    with pytest.raises(UnsupportedOpError, match=rule) as caught:
        load_network(path)
    assert "'q'" in str(caught.value)
    assert "\n" not in str(caught.value)


def float_model(folder: Path) -> Path:
    g = OnnxGraph((1, 3, 6, 5))
    t = g.node("Relu", g.node("Conv", "x", g.random(4, 3, 2, 3), name="first"))
    return g.save(g.node("Conv", t, g.random(2, 4, 1, 1), g.random(2), name="second"), folder)


def test_encodings_there_and_back_are_the_scheme(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    network = load_network(path)[1]
    nearest = WeightRounding.NEAREST  # encodings have scales, not the integers of fitted weights
    scheme = calibrate(network, [sample((4, 3, 6, 5))], Widths(4, 6), weight_rounding=nearest)
    file = tmp_path / "model.encodings"
    file.write_text(encodings_text(network, scheme), encoding="utf-8")
    given = load_network(path, encodings=file)[1]
    again = calibrate(given, None, Widths())
    assert again.tensors == scheme.tensors
    for name, weights in scheme.weights.items():
        assert again.weights[name].scales == weights.scales
        assert again.weights[name].bits == weights.bits
    first = quantize(network, scheme)
    for old, new in zip(first.layers, quantize(given, again).layers, strict=True):
        np.testing.assert_array_equal(old.weights, new.weights)
    assert encodings_text(given, again) == encodings_text(network, scheme)


def entry_of(version: str) -> dict[str, Any]:
    """The same encodings of the input (uint4) and of ``first.weight`` (int4) in every version."""
    if version == "0.6.1":
        one = {"bitwidth": 4, "dtype": "int", "is_symmetric": "False", "scale": 0.25, "offset": -5}
        weight = [one | {"scale": 0.125, "offset": -8, "is_symmetric": "True"}] * 4
        return {"activation_encodings": {"x": [one]}, "param_encodings": {"first.weight": weight}}
    if version == "1.0.0":
        one = {"bw": 4, "dtype": "INT", "is_sym": False, "scale": [0.25], "offset": [-5]}
        weight = {"bw": 4, "dtype": "INT", "is_sym": True, "scale": [0.125] * 4, "offset": [-8] * 4}
        return {
            "activation_encodings": [one | {"name": "x", "enc_type": "PER_TENSOR"}],
            "param_encodings": [weight | {"name": "first.weight", "enc_type": "PER_CHANNEL"}],
        }
    return {
        "encodings": [
            {"name": "x", "output_dtype": "uint4", "y_scale": 0.25, "y_zero_point": 5},
            {"name": "first.weight", "output_dtype": "int4", "y_scale": [0.125] * 4, "axis": 0},
        ]
    }


@pytest.mark.parametrize("version", ["0.6.1", "1.0.0", "2.0.0", "2.1.0"])
def test_every_version_of_encodings_says_the_same(tmp_path: Path, version: str) -> None:
    file = tmp_path / "e.json"
    file.write_text(json.dumps({"version": version} | entry_of(version)), encoding="utf-8")
    network = load_network(float_model(tmp_path), encodings=file)[1]
    given = network.given_ranges["x"]
    assert (given.bits, given.scale, given.zero_point) == (4, 0.25, 5)
    weights = network.parameters["first"].given
    assert weights is not None
    assert weights.bits == 4
    np.testing.assert_array_equal(weights.scales, [0.125] * 4)


def flat(**entry: Any) -> str:
    """A file of version 2 with one entry."""
    return json.dumps({"version": "2.0.0", "encodings": [entry]})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"version": "9.9"}', r"version: found '9\.9'; allowed: 0\.6\.1"),
        ('{"version": "2.0.0", "encodings": {}}', "encodings: found {}; allowed: a list"),
        ('{"version": "1.0.0", "param_encodings": [3]}', "found 3; allowed: a name"),
        (flat(name="x", output_dtype="uint8"), "y_scale"),
        (flat(name="y", output_dtype="int8", y_scale=1), "no tensor 'y'; the nearest is"),
        (flat(name="x", output_dtype="int8", y_scale=-1), "positive scales"),
        (flat(name="x", output_dtype="int8", y_scale=float("nan")), "not JSON: NaN"),
        (
            flat(name="x", output_dtype="uint4", y_scale=1, y_zero_point=99),
            r"zero point 99 outside 0\.\.15",
        ),
        (
            flat(name="first.weight", output_dtype="int4", y_scale=[1, 2]),
            "4 bits, 2 scales; allowed: 2 to 8 bits, 1 or 4 scales",
        ),
    ],
)
def test_bad_encodings_are_refused_in_one_line(tmp_path: Path, text: str, rule: str) -> None:
    file = tmp_path / "e.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SchemeError, match=rule) as caught:
        load_network(float_model(tmp_path), encodings=file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_encodings_by_the_name_of_the_initializer(tmp_path: Path) -> None:
    path = float_model(tmp_path)
    imported = import_onnx(path)
    file = tmp_path / "e.json"
    name = imported.given.weights["second"]
    entry = {"name": name, "output_dtype": "int3", "y_scale": 0.1}
    file.write_text(json.dumps({"version": "2.0.0", "encodings": [entry]}), encoding="utf-8")
    network = load_network(path)[1]
    known = imported.given.values
    found = apply_encodings(network, read_encodings(file), imported.given.weights, known, file)
    weights = found.parameters["second"].given
    assert weights is not None
    assert weights.bits == 3
