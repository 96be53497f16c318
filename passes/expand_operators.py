"""Pass: operators of Relax that ONNX spells with two become these two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.relax_expr import op_name
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="ExpandOperators")
@dataclass(frozen=True)
class ExpandOperators:
    """Write operators that only Relax has as operators that are layers.

    ::

        y = silu(x)  ->  s = sigmoid(x); y = x * s

    Ensures: no ``nn.silu`` is left. Does not fire when: there is none.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        if op_name(call) != "relax.nn.silu":
            return None
        gate = self.emit(relax.op.sigmoid(call.args[0]))
        return relax.op.multiply(call.args[0], gate)
