"""Pass: transposes and reshapes of constants are done at compile time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.relax_expr import constant, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main

_RESHAPES = frozenset({"relax.reshape", "relax.squeeze", "relax.expand_dims", "relax.flatten"})


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
        if name != "relax.permute_dims" and name not in _RESHAPES:
            return None
        source = self.value(call.args[0])
        if (value := constant(source)) is not None:
            if name == "relax.permute_dims":
                return relax.const(np.ascontiguousarray(value.transpose(_axes(call))))
            return relax.const(value.reshape(static_shape(call)))
        if name == "relax.permute_dims" and op_name(source) == "relax.dequantize":
            return self._permuted_weights(call, source)
        return None

    def _permuted_weights(self, call: Any, source: Any) -> Any | None:
        codes = constant(source.args[0])
        if codes is None:
            return None
        axes = _axes(call)
        moved = relax.const(np.ascontiguousarray(codes.transpose(axes)))
        axis = axes.index(int(source.attrs.axis) % codes.ndim)
        weights = relax.op.dequantize(moved, source.args[1], source.args[2], axis=axis)
        return self.emit(weights, getattr(call.args[0], "name", ""))


def _axes(call: Any) -> list[int]:
    rank = len(call.args[0].ty.shape)
    axes = call.attrs.axes
    return [int(a) % rank for a in axes] if axes is not None else list(range(rank))[::-1]
