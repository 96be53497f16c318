"""Pass: what only TVM's importers write becomes operators that ONNX has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.relax_expr import along_channels, constant, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="ExpandOperators")
@dataclass(frozen=True)
class ExpandOperators:
    """Write operators that only Relax has, and inlined loops, as operators that are layers.

    ::

        y = silu(x)                            ->  s = sigmoid(x); y = x * s
        y = prelu(x, slopes)                   ->  y = relu(x) + slopes * minimum(x, 0)
        y = call_tir(maximum, (x, number))     ->  y = maximum(x, number)       minimum likewise
        isnan(number), where(number, a, b)     ->  a number

    The last two are what TVM's own ONNX importer makes of Clip. Loops are judged by comparing them
    with those that TVM writes for the operator.
    Does not fire when: a number is not constant, or the loop is another.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, lambda function: _Rewriter(function, module))


@mutator
class _Rewriter(CallRewriter):
    def __init__(self, function: Any, module: Any) -> None:
        super().__init__(function)
        self._module = module

    def rewrite(self, call: Any, original: Any) -> Any | None:
        match op_name(call):
            case "relax.nn.silu":
                gate = self.emit(relax.op.sigmoid(call.args[0]))
                return relax.op.multiply(call.args[0], gate)
            case "relax.nn.prelu":
                return self._prelu(call)
            case "relax.isnan" | "relax.where":
                return _folded(call)
            case "relax.call_tir":
                return self._clamp(call)
        return None

    def _prelu(self, call: Any) -> Any | None:
        """Leaky where all slopes are one, otherwise the sum of both halves."""
        data, slopes = call.args[0], constant(self.value(call.args[1]))
        rank = len(static_shape(data))
        if slopes is None or (slopes.size > 1 and int(call.attrs.axis) % rank != 1):
            return None
        if np.all(slopes == slopes.flat[0]):
            return relax.op.nn.leakyrelu(data, float(slopes.flat[0]))
        below = self.emit(relax.op.minimum(data, relax.const(0.0, "float32")))
        scaled = self.emit(relax.op.multiply(below, along_channels(slopes, rank)))
        return relax.op.add(self.emit(relax.op.nn.relu(data)), scaled)

    def _clamp(self, call: Any) -> Any | None:
        """``maximum`` or ``minimum`` of a tensor and a number, where ``call`` computes that."""
        operands = list(call.args[1].fields) if isinstance(call.args[1], relax.Tuple) else []
        limit = self.value(operands[1]) if len(operands) == 2 else None
        if limit is None or constant(limit) is None or static_shape(limit) != ():
            return None
        data, loops = operands[0], self._module[call.args[0]]
        for name, operator in (("maximum", relax.op.maximum), ("minimum", relax.op.minimum)):
            if tvm_ffi.structural_equal(loops, _loops(name, data, limit), map_free_vars=True):
                return operator(data, limit)
        return None


def _folded(call: Any) -> Any | None:
    """The number that ``isnan`` or ``where`` makes of numbers."""
    values = [constant(argument) for argument in call.args]
    if any(value is None or value.ndim for value in values):
        return None
    functions: dict[str, Any] = {"relax.isnan": np.isnan, "relax.where": np.where}
    return relax.const(functions[op_name(call)](*values), str(call.ty.dtype))


def _loops(name: str, *operands: Any) -> Any:
    """The function that TVM writes for an operator."""
    builder = relax.BlockBuilder()
    variables = [relax.Var(f"x{i}", operand.ty) for i, operand in enumerate(operands)]
    with builder.function("main", variables):
        builder.emit_func_output(builder.emit_te(getattr(tvm.topi, name), *variables))
    return builder.get()[name]
