"""Random networks: the extracted network computes what ONNX Runtime computes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qmc.frontend import load_network
from tests.float_network import run_network
from tests.onnx_graph import OnnxGraph, run_onnx

Value = tuple[str, int, int, int]  # name, channels, height, width
STEPS = "conv depthwise norm clamp function join constant pool gate slice".split()
FUNCTIONS = "HardSwish HardSigmoid Tanh Elu Softplus Mish".split()


def window(g: OnnxGraph, size: int) -> tuple[int, int, int, int, int]:
    """Kernel, stride, dilation, pads before and after of an axis of ``size``; all valid."""
    kernel, stride, dilation = (int(v) for v in g.rng.integers(1, 4, 3))
    reach = (kernel - 1) * dilation + 1
    if reach > size:
        kernel = dilation = reach = 1
    before, after = (int(v) for v in g.rng.integers(0, kernel, 2))
    return kernel, stride, dilation, before, after


def extents(size: int, axis: tuple[int, int, int, int, int]) -> int:
    kernel, stride, dilation, before, after = axis
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def windowed(g: OnnxGraph, op: str, value: Value) -> Value:
    """A convolution (dense, grouped or depthwise) or pool."""
    x, channels, height, width = value
    rows, columns = window(g, height), window(g, width)
    if op in ("MaxPool", "AveragePool"):
        rows, columns = ((k, s, 1, b, a) for k, s, _, b, a in (rows, columns))
    attributes = {
        "kernel_shape": [rows[0], columns[0]],
        "strides": [rows[1], columns[1]],
        "pads": [rows[3], columns[3], rows[4], columns[4]],
    }
    outputs = channels
    if op == "AveragePool":
        out = g.node(op, x, count_include_pad=int(g.rng.integers(2)), **attributes)
    elif op == "MaxPool":
        out = g.node(op, x, **attributes)
    else:
        groups = channels if op == "depthwise" else int(g.rng.choice([1, channels]))
        outputs = groups * int(g.rng.integers(1, 3))
        weights = g.random(outputs, channels // groups, rows[0], columns[0])
        attributes |= {"dilations": [rows[2], columns[2]], "group": groups}
        out = g.node("Conv", x, weights, g.random(outputs), **attributes)
    return out, outputs, extents(height, rows), extents(width, columns)


def step(g: OnnxGraph, kind: str, value: Value, earlier: list[Value]) -> Value:
    """One more operation on ``value``."""
    x, channels, height, width = value
    match kind:
        case "conv" | "depthwise":
            return windowed(g, kind, value)
        case "pool":
            return windowed(g, str(g.rng.choice(["MaxPool", "AveragePool"])), value)
        case "norm":
            rest = [g.random(channels, scale=1.0) for _ in range(3)]
            variance = g.const(g.rng.uniform(0.3, 2, channels).astype(np.float32))
            out = g.node("BatchNormalization", x, *rest, variance)
        case "clamp":
            limits = [g.const(np.float32(v)) for v in (g.rng.choice([-1, 0]), 6)]
            out = g.node("Clip", x, *limits) if g.rng.integers(2) else g.node("Relu", x)
        case "function":
            out = g.node(str(g.rng.choice(FUNCTIONS)), x)
        case "constant":
            out = g.node(str(g.rng.choice(["Add", "Mul", "Sub"])), x, g.random(channels, 1, 1))
        case "slice" if min(channels, height, width) > 2:
            limits = [[1, 0, -width], [channels, height - 1, 1 << 40], [1, 2, 3], [1, 1, 2]]
            out = g.node("Slice", x, *(g.const(np.array(v)) for v in limits))
            return out, channels - 1, height - 1, -(-width // 2)
        case "gate":
            pooled = g.node("GlobalAveragePool", x)
            gate = g.node("Conv", pooled, g.random(channels, channels, 1, 1))
            out = g.node("Mul", g.node("Sigmoid", gate), x)
        case _:
            same = [v for v in earlier if v[1:] == value[1:]]
            other = same[int(g.rng.integers(len(same)))][0]
            if g.rng.integers(2):
                return g.node("Concat", x, other, axis=1), 2 * channels, height, width
            out = g.node("Add", x, other)
    return out, channels, height, width


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.lists(st.sampled_from(STEPS), min_size=1, max_size=8))
def test_random_network_computes_what_onnx_computes(seed: int, kinds: list[str]) -> None:
    g = OnnxGraph(("batch", 3, 7, 9), opset=18, seed=seed)
    values: list[Value] = [("x", 3, 7, 9)]
    for kind in kinds:
        values.append(step(g, kind, values[-1], values))
    out = g.node("Flatten", g.node("GlobalAveragePool", values[-1][0]))
    out = g.node("Gemm", out, g.random(values[-1][1], 4), g.random(4))
    with tempfile.TemporaryDirectory() as folder:
        path = g.save(out, Path(folder))
        _, network = load_network(path, equalize=bool(seed % 2))
        data = np.random.default_rng(seed).standard_normal((1, 3, 7, 9)).astype(np.float32)
        expected = run_onnx(path, data)
    tolerance = 2e-4 * max(1e-2, float(np.abs(expected).max()))
    np.testing.assert_allclose(run_network(network, data), expected, atol=tolerance, rtol=0)
