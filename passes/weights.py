"""Weights of a layer: float constants, or integers with the scales they arrived with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tvm

from qmc.network import FloatArray, GivenWeights
from qmc.passes.relax_expr import Array, constant, node_index, op_name

if TYPE_CHECKING:
    from qmc.passes.read_layer import LayerContext


def read_weights(
    expr: Any, values: Mapping[Any, Any], context: LayerContext
) -> tuple[FloatArray, GivenWeights | None]:
    """Float weights, and the integers they come from if the model was quantized.

    Args:
        expr: second argument of ``conv2d`` (O, I, H, W) or ``matmul`` (C, K).
        values: bindings of the composite function.
        context: for messages and widths.

    Raises:
        UnsupportedOpError: the weights are not constant, or are integers that no symmetric int8
            holds.
    """
    call = values.get(expr, expr) if isinstance(expr, tvm.ir.Var) else expr
    value = constant(call)
    if value is not None:
        return value.astype(np.float32), None
    if op_name(call) != "relax.dequantize":
        raise context.unsupported("weights must be constant")
    index = node_index(getattr(expr, "name", ""))
    bits = context.weight_bits.get(str(index), 8)
    given = _given(call, bits, context)
    shape = [1] * given.codes.ndim
    shape[_output_axis(given.codes)] = -1
    floats = given.codes.astype(np.float64) * given.scales.reshape(shape)
    return floats.astype(np.float32), given


def _output_axis(codes: Array) -> int:
    return 0 if codes.ndim == 4 else 1


def _given(call: Any, bits: int, context: LayerContext) -> GivenWeights:
    codes, scale, zero = (constant(argument) for argument in call.args)
    if codes is None or scale is None or zero is None:
        raise context.unsupported("weights, scale and zero point must be constant")
    axis = _output_axis(codes)
    if scale.size > 1 and int(call.attrs.axis) % codes.ndim != axis:
        raise context.unsupported("weight scales must be per output channel")
    channels = codes.shape[axis]
    shape = [1] * codes.ndim
    shape[axis] = -1
    zeros = np.broadcast_to(zero.reshape(-1), (channels,)).astype(np.int32)
    shifted = codes.astype(np.int32) - zeros.reshape(shape)
    low, high = int(shifted.min()), int(shifted.max())
    if low < -128 or high > 127:
        rule = f"weights minus zero point reach {low}..{high}; allowed: -128..127 (symmetric)"
        raise context.unsupported(rule)
    needed = next(b for b in range(2, 9) if -(1 << (b - 1)) <= low and high < 1 << (b - 1))
    scales = np.broadcast_to(scale.reshape(-1), (channels,)).astype(np.float64)
    return GivenWeights(shifted.astype(np.int8), scales, max(bits, needed))
