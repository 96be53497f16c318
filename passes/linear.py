"""Convolutions and dense layers with constant float weights, as plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tvm import relax

from qmc.passes.relax_expr import (
    Array,
    along_channels,
    channel_vector,
    constant,
    is_channels_first,
    node_index,
    op_name,
    static_shape,
)
from qmc.passes.rewriter import CallRewriter

CONV = "relax.nn.conv2d"
DENSE = "relax.matmul"


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A convolution or dense layer, bias included.

    Attributes:
        call: the ``conv2d`` or ``matmul``; gives the input and the attributes.
        weights: (G*K, C, R, S) of a convolution, (C, K) of a dense layer, float64.
        bias: (channels,) float64.
        name: variable name that carries the ONNX node, empty if none does.
    """

    call: Any
    weights: Array
    bias: Array
    name: str

    @property
    def is_conv(self) -> bool:
        """Whether this is a convolution."""
        return op_name(self.call) == CONV

    @property
    def groups(self) -> int:
        """Groups of a convolution, 1 for a dense layer."""
        return int(self.call.attrs.groups) if self.is_conv else 1

    def scaled(self, scale: Array, shift: Array) -> Linear:
        """The layer followed by ``scale * y + shift`` per output channel."""
        shape = (-1, 1, 1, 1) if self.is_conv else (1, -1)
        weights = self.weights * scale.reshape(shape)
        return replace(self, weights=weights, bias=self.bias * scale + shift)


def match_linear(lookup: Callable[[Any], Any], expr: Any) -> Linear | None:
    """The layer whose output ``expr`` is: ``conv2d``, ``matmul``, or one of these plus a bias.

    Args:
        lookup: gives the value of a variable.
        expr: an expression or variable.
    """
    value = lookup(expr)
    name = getattr(expr, "name", "")
    if op_name(value) == "relax.add":
        bias = constant(value.args[1])
        inner = lookup(value.args[0])
        if bias is None or static_shape(value) != static_shape(value.args[0]):
            return None
        shift = channel_vector(bias, static_shape(value))
        if shift is None or not (found := _without_bias(inner)):
            return None
        inner_name = getattr(value.args[0], "name", "")
        name = inner_name if node_index(inner_name) is not None else name
        return replace(found, bias=shift, name=name)
    found = _without_bias(value)
    return replace(found, name=name) if found else None


def _without_bias(call: Any) -> Linear | None:
    if op_name(call) not in (CONV, DENSE) or not is_channels_first(call):
        return None
    weights, shape = constant(call.args[1]), static_shape(call)
    if weights is None or weights.ndim != (4 if op_name(call) == CONV else 2) or len(shape) < 2:
        return None
    return Linear(call, weights.astype(np.float64), np.zeros(shape[1]), "")


def emit_linear(rewriter: CallRewriter, linear: Linear, data: Any = None) -> Any:
    """The expression of a layer, bias included; reads ``data`` if given, else the call's input."""
    source = linear.call.args[0] if data is None else data
    weights = relax.const(linear.weights.astype(np.float32))
    if linear.is_conv:
        call = conv2d_like(linear.call, source, weights)
    else:
        call = relax.op.matmul(source, weights)
    result = rewriter.emit(call, linear.name)
    return relax.op.add(result, along_channels(linear.bias, len(static_shape(linear.call))))


def conv2d_like(call: Any, data: Any, weights: Any, padding: list[int] | None = None) -> Any:
    """A ``conv2d`` with the attributes of ``call``."""
    attrs = call.attrs
    return relax.op.nn.conv2d(
        data,
        weights,
        strides=[int(v) for v in attrs.strides],
        padding=[int(v) for v in attrs.padding] if padding is None else padding,
        dilation=[int(v) for v in attrs.dilation],
        groups=int(attrs.groups),
    )


def depthwise_scale(rewriter: CallRewriter, data: Any, scale: Array, shift: Array) -> Any:
    """``scale * data + shift`` per channel, as a depthwise 1x1 convolution."""
    shape = static_shape(data)
    image = data if len(shape) == 4 else relax.op.reshape(data, (*shape, 1, 1))
    weights = relax.const(scale.astype(np.float32).reshape(-1, 1, 1, 1))
    conv = rewriter.emit(relax.op.nn.conv2d(image, weights, groups=shape[1]))
    result = relax.op.add(conv, along_channels(shift, 4))
    return result if len(shape) == 4 else relax.op.reshape(rewriter.emit(result), shape)
