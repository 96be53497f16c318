"""Functions of LOOKUP layers against ONNX Runtime's operators."""

from __future__ import annotations

import numpy as np
import pytest
from single_layer import network_of

from qmc.float_model import FloatModel
from qmc.functions import evaluate
from qmc.layer import Layer, LoopBounds, Op

KEYS = [
    "sigmoid",
    "hard_sigmoid:0.2:0.5",
    "hard_sigmoid:0.1666666716337204:0.5",
    "hard_swish",
    "tanh",
    "relu",
    "clip:-1.5:2.25",
    "leaky_relu:0.1",
    "elu:1.5",
    "swish",
    "gelu",
    "gelu_tanh",
    "softplus",
    "mish",
]


@pytest.mark.parametrize("key", KEYS)
def test_function_equals_the_onnx_operator(key: str) -> None:
    x = np.linspace(-12, 12, 97, dtype=np.float32).reshape(1, 97)
    layer = Layer("f", Op.LOOKUP, ("x",), "y", LoopBounds(G=97), function=key)
    network = network_of(layer, {"x": (1, 97), "y": (1, 97)})
    expected = FloatModel(network).run(x)["y"]
    np.testing.assert_allclose(evaluate(key, x.astype(np.float64)), expected, atol=3e-6)


@pytest.mark.parametrize("key", ["swash", "clip:1", "sigmoid:2", "elu:x", ""])
def test_wrong_key_raises(key: str) -> None:
    with pytest.raises(ValueError, match=r"function|float"):
        evaluate(key, np.zeros(1))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["swish", "gelu", "gelu_tanh", "softplus", "mish"])
def test_rectifiers_do_not_overflow(key: str) -> None:
    np.testing.assert_array_equal(evaluate(key, np.array([-1e6, 1e6])), [0.0, 1e6])


def test_sigmoid_does_not_overflow() -> None:
    np.testing.assert_array_equal(evaluate("sigmoid", np.array([-1e6, 1e6])), [0.0, 1.0])
