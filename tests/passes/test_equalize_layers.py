from pathlib import Path

import numpy as np
from tvm.script import ir as I
from tvm.script import relax as R

from qmc.frontend import load_network
from qmc.network import Network
from qmc.passes import EqualizeLayers
from tests.float_network import run_network
from tests.onnx_graph import OnnxGraph
from tests.passes.modules import assert_becomes, assert_unchanged

W1 = np.array([[1.0], [16.0]], np.float32).reshape(2, 1, 1, 1)
W2 = np.array([[4.0, 1.0]], np.float32).reshape(1, 2, 1, 1)
BIAS = np.array([2.0, 8.0], np.float32).reshape(1, 2, 1, 1)
#: sqrt(r1 * r2) of both channels: sqrt(1 * 4) and sqrt(16 * 1).
EQUAL1 = np.array([[2.0], [4.0]], np.float32).reshape(2, 1, 1, 1)
EQUAL2 = np.array([[2.0, 4.0]], np.float32).reshape(1, 2, 1, 1)
EQUAL_BIAS = np.array([4.0, 2.0], np.float32).reshape(1, 2, 1, 1)
ZERO = np.zeros((1, 1, 1, 1), np.float32)


def test_ranges_become_equal_across_relu() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor((1, 1, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.conv2d(x, R.const(W1))
                b = R.add(a, R.const(BIAS))
                r = R.nn.relu(b)
                y = R.nn.conv2d(r, R.const(W2))
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(x: R.Tensor((1, 1, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.conv2d(x, R.const(EQUAL1))
                b = R.add(a, R.const(EQUAL_BIAS))
                r = R.nn.relu(b)
                c = R.nn.conv2d(r, R.const(EQUAL2))
                y = R.add(c, R.const(ZERO))
                R.output(y)
            return y

    assert_becomes(EqualizeLayers(), Before, Expected)


def test_relu6_between_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 1, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.conv2d(x, R.const(W1))
                r = R.clip(a, 0.0, 6.0)
                y = R.nn.conv2d(r, R.const(W2))
                R.output(y)
            return y

    assert_unchanged(EqualizeLayers(), Module)


def test_value_with_another_reader_stays() -> None:
    @I.ir_module
    class Module:
        @R.function
        def main(x: R.Tensor((1, 1, 4, 5), "float32")):
            with R.dataflow():
                a = R.nn.conv2d(x, R.const(W1))
                r = R.nn.relu(a)
                b = R.nn.conv2d(r, R.const(W2))
                y = (b, r)
                R.output(y)
            return y

    assert_unchanged(EqualizeLayers(), Module)


def chain(tmp_path: Path) -> Path:
    """Convolution, depthwise, grouped and dense layers with very unequal channels."""
    g = OnnxGraph(("b", 4, 6, 5))
    spread = np.geomspace(0.01, 10, 6).astype(np.float32)
    w = g.const(
        g.rng.standard_normal((6, 4, 1, 3)).astype(np.float32) * spread[:, None, None, None]
    )
    t = g.node("Relu", g.node("Conv", "x", w, g.random(6)))
    t = g.node("Relu", g.node("Conv", t, g.random(6, 1, 2, 1), g.random(6), group=6))
    t = g.node("Relu", g.node("Conv", t, g.random(4, 3, 1, 1), g.random(4), group=2))
    t = g.node("Conv", t, g.random(8, 4, 5, 3), g.random(8))
    t = g.node("Conv", g.node("Relu", t), g.random(3, 8, 1, 1), g.random(3))
    return g.save(t, tmp_path)


def ranges(network: Network, layer: int) -> np.ndarray:
    weights = network.parameters[network.layers[layer].name].weights
    return np.abs(weights).max(axis=(1, 2, 3))


def test_chain_computes_the_same_with_equal_ranges(tmp_path: Path) -> None:
    path = chain(tmp_path)
    plain, equal = load_network(path)[1], load_network(path, equalize=True)[1]
    data = np.random.default_rng(0).standard_normal((1, 4, 6, 5)).astype(np.float32)
    expected = run_network(plain, data)
    np.testing.assert_allclose(run_network(equal, data), expected, rtol=1e-4, atol=1e-4)
    assert ranges(plain, 0).max() / ranges(plain, 0).min() > 100
    np.testing.assert_allclose(ranges(equal, 0), ranges(equal, 1), rtol=1e-3)
    last = equal.parameters[equal.layers[4].name].weights
    np.testing.assert_allclose(ranges(equal, 3), np.abs(last).max(axis=(0, 2, 3)), rtol=1e-3)
