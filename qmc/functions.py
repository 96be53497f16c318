"""The real functions that a LOOKUP layer tabulates, by key.

A key is a name, or a name with its parameters: ``hard_sigmoid:0.2:0.5``. Definitions are those of
the ONNX operators of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.special
from numpy.typing import NDArray

Reals = NDArray[np.float64]


def evaluate(key: str, x: Reals) -> Reals:
    """Value of the function called ``key`` at ``x``, float64.

    Raises:
        ValueError: the key is unknown or has the wrong number of parameters.
    """
    name, parameters = _split(key)
    values = _FUNCTIONS[name][1](x.astype(np.float64), *parameters)
    return np.asarray(values, dtype=np.float64)


def _split(key: str) -> tuple[str, list[float]]:
    name, *texts = key.split(":")
    if name not in _FUNCTIONS:
        raise ValueError(f"unknown function '{key}'; known: {', '.join(_FUNCTIONS)}")
    count = _FUNCTIONS[name][0]
    if len(texts) != count:
        raise ValueError(f"function '{key}': found {len(texts)} parameters, takes {count}")
    return name, [float(text) for text in texts]


def _sigmoid(x: Reals) -> Reals:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))  # no overflow at either end


def _hard_sigmoid(x: Reals, alpha: float, beta: float) -> Reals:
    return np.asarray(np.clip(alpha * x + beta, 0.0, 1.0))


def _hard_swish(x: Reals) -> Reals:
    return x * _hard_sigmoid(x, 1.0 / 6.0, 0.5)


def _relu(x: Reals) -> Reals:
    return np.maximum(x, 0.0)


def _clip(x: Reals, low: float, high: float) -> Reals:
    return np.asarray(np.clip(x, low, high))


def _leaky_relu(x: Reals, alpha: float) -> Reals:
    return np.where(x >= 0.0, x, alpha * x)


def _elu(x: Reals, alpha: float) -> Reals:
    return np.where(x >= 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _swish(x: Reals) -> Reals:
    return x * _sigmoid(x)


def _gelu(x: Reals) -> Reals:
    return np.asarray(0.5 * x * (1.0 + scipy.special.erf(x / np.sqrt(2.0))))


def _gelu_tanh(x: Reals) -> Reals:
    return np.asarray(0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))))


def _softplus(x: Reals) -> Reals:
    return np.asarray(np.logaddexp(0.0, x))


def _mish(x: Reals) -> Reals:
    return x * np.tanh(_softplus(x))


#: By name: number of parameters, function.
_FUNCTIONS: dict[str, tuple[int, Callable[..., Reals]]] = {
    "sigmoid": (0, _sigmoid),
    "hard_sigmoid": (2, _hard_sigmoid),
    "hard_swish": (0, _hard_swish),
    "tanh": (0, np.tanh),
    "relu": (0, _relu),
    "clip": (2, _clip),
    "leaky_relu": (1, _leaky_relu),
    "elu": (1, _elu),
    "swish": (0, _swish),
    "gelu": (0, _gelu),
    "gelu_tanh": (0, _gelu_tanh),
    "softplus": (0, _softplus),
    "mish": (0, _mish),
}

#: ONNX operator of each function but clip, and the names of its attributes.
ONNX_OPERATORS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "sigmoid": ("Sigmoid", ()),
    "hard_sigmoid": ("HardSigmoid", ("alpha", "beta")),
    "hard_swish": ("HardSwish", ()),
    "tanh": ("Tanh", ()),
    "relu": ("Relu", ()),
    "leaky_relu": ("LeakyRelu", ("alpha",)),
    "elu": ("Elu", ("alpha",)),
    "swish": ("Swish", ()),
    "gelu": ("Gelu", ()),
    "gelu_tanh": ("Gelu", ()),
    "softplus": ("Softplus", ()),
    "mish": ("Mish", ()),
}


def onnx_operator(key: str) -> tuple[str, dict[str, Any]]:
    """The ONNX operator that computes a function of this module, and its attributes.

    Args:
        key: of the function; ``clip`` has inputs for its limits.
    """
    name, *texts = key.split(":")
    if name == "clip":
        return "Clip", {}
    operator, attributes = ONNX_OPERATORS[name]
    values = [float(text) for text in texts]
    fixed = {"approximate": "tanh"} if name == "gelu_tanh" else {}
    return operator, dict(zip(attributes, values, strict=True)) | fixed
