"""Pass: parts of a tuple become what was put into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="UnpackTuples")
@dataclass(frozen=True)
class UnpackTuples:
    """Read the fields of a tuple instead of the tuple.

    ::

        t = (max_pool2d(x), zeros_like(...)); y = t[0]  ->  y = max_pool2d(x)

    TVM's importer of ``torch.export`` writes pools with indices so.
    Ensures: what made the other fields is gone where nobody reads it.
    Does not fire when: the tuple is what an operator returns.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def visit_tuple_getitem_(self, item: Any) -> Any:
        """Replace ``(a, b)[0]``; called by TVM."""
        whole = self.value(self.visit_expr(item.tuple_value))
        if not isinstance(whole, relax.Tuple):
            return super().visit_tuple_getitem_(item)
        self.changed = True
        return whole.fields[item.index]
