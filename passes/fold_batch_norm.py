"""Pass: batch normalization becomes part of the layer before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm.relax.expr_functor import mutator

from qmc.passes.linear import depthwise_scale, emit_linear, match_linear
from qmc.passes.relax_expr import Array, constant, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="FoldBatchNorm")
@dataclass(frozen=True)
class FoldBatchNorm:
    """Fold inference batch normalization into weights and bias.

    ::

        y = batch_norm(conv2d(x, W) + b)[0]  ->  y = conv2d(x, W * s) + (b * s + t)
        s = gamma / sqrt(var + eps)              t = beta - mean * s

    Requires: constant statistics. Ensures: no ``nn.batch_norm`` is left. Where no convolution or
    dense layer with float weights comes before, or others read its output too, the normalization
    becomes a depthwise 1x1 convolution.
    Does not fire when: the statistics are not constant, the axis is not 1, or a shape is symbolic.
    Source: Jacob et al., CVPR 2018, section 3.2 (figures C.7, C.8).
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def visit_tuple_getitem_(self, item: Any) -> Any:
        """Replace ``batch_norm(...)[0]``; called by TVM."""
        call = self.value(self.visit_expr(item.tuple_value))
        if op_name(call) != "relax.nn.batch_norm" or item.index != 0:
            return super().visit_tuple_getitem_(item)
        affine = _scale_and_shift(call)
        if affine is None:
            return super().visit_tuple_getitem_(item)
        self.changed = True
        data = call.args[0]
        linear = match_linear(self.value, data)
        original = self.original_value(item.tuple_value)
        if linear is not None and self.is_used_once(original.args[0]):
            return emit_linear(self, linear.scaled(*affine))
        return depthwise_scale(self, data, *affine)


def _scale_and_shift(call: Any) -> tuple[Array, Array] | None:
    parameters = [constant(argument) for argument in call.args[1:5]]
    if any(value is None for value in parameters) or int(call.attrs.axis) != 1:
        return None
    if not static_shape(call.args[0]):
        return None
    gamma, beta, mean, variance = (np.asarray(v, dtype=np.float64) for v in parameters)
    with np.errstate(invalid="ignore"):  # a negative variance is reported with its layer, later
        scale = gamma / np.sqrt(variance + float(call.attrs.epsilon))
    return scale, beta - mean * scale
