"""Pass: one form for every clamp with constant limits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.relax_expr import number, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="CanonicalizeClip")
@dataclass(frozen=True)
class CanonicalizeClip:
    """Write clamps as ``nn.relu`` (0 to infinity) or ``clip``; merge one that follows another.

    ::

        minimum(maximum(x, 0), 6)  ->  clip(x, 0, 6)        relu6(x)       ->  clip(x, 0, 6)
        clip(x, 0, inf)            ->  nn.relu(x)           clip(relu(x), -1, 6)  ->  clip(x, 0, 6)

    Requires: constant limits. Ensures: no ``minimum``, ``maximum`` or ``nn.relu6`` with a constant
    scalar is left, and no clamp reads a clamp that nothing else reads.
    Does not fire when: the clamp is already in its form and reads no other clamp.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


def clamp_limits(call: Any) -> tuple[float, float] | None:
    """Limits of a clamp of its first argument; None for anything else."""
    match op_name(call):
        case "relax.nn.relu":
            return 0.0, math.inf
        case "relax.nn.relu6":
            return 0.0, 6.0
        case "relax.clip":
            low, high = number(call.args[1]), number(call.args[2])
            return None if low is None or high is None else (low, high)
        case "relax.maximum":
            low = number(call.args[1])
            return None if low is None else (low, math.inf)
        case "relax.minimum":
            high = number(call.args[1])
            return None if high is None else (-math.inf, high)
    return None


def clamp(data: Any, low: float, high: float) -> Any:
    """The canonical expression of a clamp."""
    if (low, high) == (-math.inf, math.inf):
        return data
    if (low, high) == (0.0, math.inf):
        return relax.op.nn.relu(data)
    return relax.op.clip(data, low, high)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        flipped = _constant_second(call)
        limits = clamp_limits(flipped)
        data = flipped.args[0] if limits else None
        if limits is None or not _is_float(call, data):
            return None
        inner = self.value(data)
        inner_limits = clamp_limits(inner)
        if inner_limits and self.is_used_once(_constant_second(original).args[0]):
            # Clamping the inner limits by the outer ones merges the two, even where disjoint.
            low, high = (min(max(limit, limits[0]), limits[1]) for limit in inner_limits)
            return clamp(inner.args[0], low, high)
        result = clamp(data, *limits)
        return None if op_name(result) == op_name(call) else result


def _is_float(call: Any, data: Any) -> bool:
    """Whether a clamp takes float32 numbers and keeps their shape."""
    return str(call.ty.dtype) == "float32" and static_shape(call) == static_shape(data)


def _constant_second(call: Any) -> Any:
    """``maximum`` and ``minimum`` with their constant, if any, as second argument."""
    if op_name(call) in ("relax.maximum", "relax.minimum") and number(call.args[0]) is not None:
        return tvm.ir.Call(call.op, [call.args[1], call.args[0]], call.attrs)
    return call
