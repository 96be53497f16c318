"""The frame of a pass that rewrites calls one by one, in execution order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator

from qmc.passes.relax_expr import bindings, constant, inputs


class CallRewriter(PyExprMutator):  # type: ignore[misc]
    """Visits every call with its inputs already rewritten.

    Subclasses define ``rewrite``. A variable keeps its name when its value is replaced; values
    emitted on the way get the name they are given. ``variable`` is the one being bound, as it was
    in the function.
    """

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.changed = False
        self.variable: Any = None
        self.uses = use_counts(function)
        self._originals = relax.analysis.get_var2val(function)

    def rewrite(self, call: Any, original: Any) -> Any | None:
        """The replacement of ``call``, or None to keep it.

        Args:
            call: with rewritten arguments.
            original: as it was in the function; its variables are keys of ``uses``.
        """
        return None

    def visit_var_binding_(self, binding: Any) -> None:
        """Bind the new value to the old variable, or drop it for another one; called by TVM.

        TVM's own rule would keep ``y = x`` as a binding, and removing that afterwards would rename
        the variables that carry the ONNX nodes.
        """
        self.variable = binding.var
        value = self.builder_.normalize(self.visit_expr(binding.value))
        if isinstance(value, tvm.ir.Var) and isinstance(binding.var, relax.DataflowVar):
            self.set_var_remap(binding.var, value)
            return
        variable = self.visit_var_def(binding.var)
        typed = self.with_type(variable, value.ty)
        if not typed.same_as(variable):
            self.set_var_remap(binding.var, typed)
        self.builder_.emit_normalized(relax.VarBinding(typed, value))

    def visit_call_(self, call: Any) -> Any:
        """Called by TVM."""
        visited = self._with_constants(super().visit_call_(call))
        replacement = self.rewrite(visited, call)
        if replacement is None:
            return visited
        self.changed = True
        return replacement

    def _with_constants(self, call: Any) -> Any:
        """Variables that hold a constant replaced by it, so that matching sees constants."""
        held = [self.value(a) if isinstance(a, tvm.ir.Var) else a for a in call.args]
        arguments = [
            value if constant(value) is not None else argument
            for value, argument in zip(held, call.args, strict=True)
        ]
        if all(new.same_as(old) for new, old in zip(arguments, call.args, strict=True)):
            return call
        self.changed = True
        return self.builder_.normalize(tvm.ir.Call(call.op, arguments, call.attrs, call.ty_args))

    def value(self, expr: Any) -> Any:
        """What a variable is bound to; other expressions, and parameters, as they are."""
        if isinstance(expr, tvm.ir.Var):
            bound = self.lookup_binding(expr)
            return expr if bound is None else self.value(bound)
        return expr

    def original_value(self, expr: Any) -> Any:
        """What a variable of the function was bound to before the rewrite."""
        while isinstance(expr, tvm.ir.Var) and expr in self._originals:
            expr = self._originals[expr]
        return expr

    def is_used_once(self, expr: Any) -> bool:
        """Whether an argument of an original call is read nowhere else."""
        return self.uses[expr] == 1

    def emit(self, expr: Any, name: str = "") -> Any:
        """Bind ``expr`` to a new variable."""
        return self.builder_.emit(expr, name_hint=name)


def use_counts(function: Any) -> Counter[Any]:
    """How often each variable of ``function`` is read; the result counts as a reader."""
    counts: Counter[Any] = Counter()
    for value in (*bindings(function).values(), function.body.body):
        counts.update(inputs(value))
    return counts


def rewrite_main(module: Any, rewriter: Callable[[Any], CallRewriter]) -> Any:
    """Apply a rewriter to ``main`` and drop what it left unused; unchanged if nothing matched."""
    function = module["main"]
    visitor = rewriter(function)
    result = visitor.visit_expr(function)
    if not visitor.changed:
        return module
    updated = tvm.IRModule(module.functions, attrs=module.attrs)
    updated["main"] = relax.analysis.remove_all_unused(result)
    return updated
