"""Pass: means and maxima over the image are pools over the whole image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.relax_expr import is_channels_first, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="CanonicalizePooling")
@dataclass(frozen=True)
class CanonicalizePooling:
    """Write global pooling as a pool with the window of the image.

    ::

        mean(x, axis=[2, 3], keepdims=True)   ->  avg_pool2d(x, [H, W])
        mean(x, axis=[2, 3], keepdims=False)  ->  reshape(avg_pool2d(x, [H, W]), (1, C))
        mean(x, axis=[3], keepdims=True)      ->  avg_pool2d(x, [1, W])
        max(x, axis=[2, 3], keepdims=True)    ->  max_pool2d(x, [H, W])
        adaptive_avg_pool2d(x, [P, Q])        ->  avg_pool2d(x, [H/P, W/Q], strides=[H/P, W/Q])

    Requires: x of shape (1, C, H, W). Ensures: every pool is ``avg_pool2d`` or ``max_pool2d``.
    Does not fire when: an axis is neither height nor width, or P and Q do not divide H and W.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


_POOLS = {"relax.mean": relax.op.nn.avg_pool2d, "relax.max": relax.op.nn.max_pool2d}


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        if op_name(call) == "relax.nn.adaptive_avg_pool2d":
            return _adaptive(call)
        pool = _POOLS.get(op_name(call))
        if pool is None or call.attrs.axis is None:
            return None
        shape = static_shape(call.args[0])
        axes = sorted(int(axis) % 4 for axis in call.attrs.axis)
        if len(shape) != 4 or not axes or not set(axes) <= {2, 3}:
            return None
        window = [shape[axis] if axis in axes else 1 for axis in (2, 3)]
        pooled = pool(call.args[0], pool_size=window)
        if call.attrs.keepdims:
            return pooled
        return relax.op.reshape(self.emit(pooled), static_shape(call))


def _adaptive(call: Any) -> Any | None:
    source, target = static_shape(call.args[0]), static_shape(call)
    if len(source) != 4 or not is_channels_first(call):
        return None
    if any(source[axis] % target[axis] for axis in (2, 3)):
        return None
    window = [source[axis] // target[axis] for axis in (2, 3)]
    return relax.op.nn.avg_pool2d(call.args[0], pool_size=window, strides=window)
