"""Pass: multiplication by and addition of per-channel constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.linear import depthwise_scale, emit_linear, match_linear
from qmc.passes.relax_expr import (
    Array,
    along_channels,
    channel_vector,
    constant,
    op_name,
    static_shape,
)
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="FoldScaleShift")
@dataclass(frozen=True)
class FoldScaleShift:
    """Fold scalar or per-channel constant Add, Sub, Mul and Div into the layer before.

    ::

        y = (conv2d(x, W) + b) * s   ->  y = conv2d(x, W * s) + b * s
        y = x * s                    ->  y = conv2d(x, s, groups=channels)      (no layer before)

    Requires: one operand constant along all axes but the channels.
    Ensures: the only such operand left is the bias of a convolution or dense layer.
    Does not fire when: both operands are activations, the constant varies over the image, or the
    addition is already a layer's bias.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        found = _scale_shift(call)
        if found is None:
            return None
        position, scale, shift = found
        data = call.args[position]
        if not self.is_used_once(original.args[position]):
            return depthwise_scale(self, data, scale, shift)
        has_no_bias = op_name(self.value(data)) in ("relax.nn.conv2d", "relax.matmul")
        if has_no_bias and np.all(scale == 1):
            return _as_bias(call, data, shift)
        linear = match_linear(self.value, data)
        if linear is not None:
            return emit_linear(self, linear.scaled(scale, shift))
        return depthwise_scale(self, data, scale, shift)


def _as_bias(call: Any, data: Any, shift: Array) -> Any | None:
    """The canonical form of a bias; None if ``call`` has it."""
    shape = static_shape(call)
    bias = constant(call.args[1])
    wanted = (1, shape[1], *(1 for _ in shape[2:]))
    if op_name(call) == "relax.add" and bias is not None and bias.shape == wanted:
        return None
    return relax.op.add(data, along_channels(shift, len(shape)))


def _scale_shift(call: Any) -> tuple[int, Array, Array] | None:
    """(position of the data, scale, shift) of ``call`` as ``scale * data + shift``."""
    name = op_name(call)
    if name not in ("relax.add", "relax.subtract", "relax.multiply", "relax.divide"):
        return None
    values = [constant(argument) for argument in call.args]
    if (values[0] is None) == (values[1] is None):
        return None
    position = 0 if values[0] is None else 1
    shape = static_shape(call)
    is_same = static_shape(call.args[position]) == shape and str(call.ty.dtype) == "float32"
    if not is_same or len(shape) not in (2, 4):
        return None
    other = values[1 - position]
    value = None if other is None else channel_vector(other, shape)
    if value is None:
        return None
    ones, zeros = np.ones_like(value), np.zeros_like(value)
    match name, position:
        case "relax.add", _:
            return position, ones, value
        case "relax.multiply", _:
            return position, value, zeros
        case "relax.subtract", 0:
            return position, ones, -value
        case "relax.subtract", _:
            return position, -ones, value
        case "relax.divide", 0 if np.all(value != 0):
            return position, 1 / value, zeros
    return None
