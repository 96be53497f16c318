"""Pass: transposes and reshapes of constants are done at compile time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.data_movement import RESHAPES, TRANSPOSE, transpose_axes
from qmc.passes.relax_expr import Array, constant, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="FoldConstantLayout")
@dataclass(frozen=True)
class FoldConstantLayout:
    """Replace data movement of constants by the moved constant.

    ::

        w = permute_dims(const (K, C))               ->  const (C, K)
        w = permute_dims(dequantize(const, s, z))    ->  dequantize(permuted const, s, z)

    Ensures: Gemm has its weights as (C, K), biases are constants.
    Does not fire when: the operand is not constant. ``dequantize`` itself is never evaluated: it
    says how the weights are quantized.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        name = op_name(call)
        if name != TRANSPOSE and name not in RESHAPES:
            return None
        source = self.value(call.args[0])
        if (value := constant(source)) is not None:
            return relax.const(_moved(call, value), str(value.dtype))
        if op_name(source) == "relax.dequantize":
            return self._moved_weights(call, source)
        return None

    def _moved_weights(self, call: Any, source: Any) -> Any | None:
        codes = constant(source.args[0])
        if codes is None:
            return None
        axis = int(source.attrs.axis) % codes.ndim
        if op_name(call) == TRANSPOSE:
            axis = transpose_axes(call).index(axis)
        elif axis != 0 or static_shape(call)[0] != codes.shape[0]:
            return None
        moved = relax.const(_moved(call, codes))
        weights = relax.op.dequantize(moved, source.args[1], source.args[2], axis=axis)
        return self.emit(weights, getattr(call.args[0], "name", ""))


def _moved(call: Any, value: Array) -> Array:
    if op_name(call) == TRANSPOSE:
        return np.ascontiguousarray(value.transpose(transpose_axes(call)))
    return value.reshape(static_shape(call))
