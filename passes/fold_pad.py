"""Pass: zero padding becomes part of the window that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.canonicalize_clip import clamp_limits
from qmc.passes.linear import conv2d_like
from qmc.passes.relax_expr import is_channels_first, number, op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="FoldPad")
@dataclass(frozen=True)
class FoldPad:
    """Fold constant zero padding into the following convolution or pool.

    ::

        conv2d(pad(x, 0, 1, 0, 1), W, padding=[0, 0, 0, 0])  ->  conv2d(x, W, padding=[0, 0, 1, 1])
        avg_pool2d(pad(x))                  ->  avg_pool2d(x, padding=..., count_include_pad=True)
        max_pool2d(pad(relu(x)))            ->  max_pool2d(relu(x), padding=...)

    Requires: padding of height and width only.
    Does not fire when: the value is not zero, a maximum pool reads values that may be negative
    (zero could win there), or an average pool has padding of its own that it does not count.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        name = op_name(call)
        if name not in ("relax.nn.conv2d", "relax.nn.avg_pool2d", "relax.nn.max_pool2d"):
            return None
        if not is_channels_first(call):
            return None
        pad = self.value(call.args[0])
        widths = _zero_pad(pad)
        if widths is None:
            return None
        own = [int(v) for v in call.attrs.padding]
        padding = [a + b for a, b in zip(own, widths, strict=True)]
        data = pad.args[0]
        if name == "relax.nn.conv2d":
            return conv2d_like(call, data, call.args[1], padding)
        if name == "relax.nn.max_pool2d":
            limits = clamp_limits(self.value(data))
            is_safe = limits is not None and limits[0] >= 0 and _fits(call, padding)
            return _pool(relax.op.nn.max_pool2d, call, data, padding) if is_safe else None
        if any(own) and not call.attrs.count_include_pad:
            return None
        is_safe = not call.attrs.ceil_mode and _fits(call, padding)
        return _pool(relax.op.nn.avg_pool2d, call, data, padding, True) if is_safe else None


def _zero_pad(pad: Any) -> list[int] | None:
    """(top, left, bottom, right) of a constant zero pad of an image; None for anything else."""
    if op_name(pad) != "relax.nn.pad" or str(pad.attrs.pad_mode) != "constant":
        return None
    widths = [int(v) for v in pad.attrs.pad_width]
    if len(static_shape(pad)) != 4 or any(widths[:4]) or min(widths) < 0:
        return None
    value = number(pad.args[1]) if len(pad.args) > 1 else float(pad.attrs.pad_value)
    return [widths[4], widths[6], widths[5], widths[7]] if value == 0 else None


def _fits(call: Any, padding: list[int]) -> bool:
    """Whether every window reaches at least one element of the image."""
    window = [int(v) for v in call.attrs.pool_size]
    return max(padding[0], padding[2]) < window[0] and max(padding[1], padding[3]) < window[1]


def _pool(operator: Any, call: Any, data: Any, padding: list[int], counted: bool = False) -> Any:
    attrs = call.attrs
    return operator(
        data,
        pool_size=[int(v) for v in attrs.pool_size],
        strides=[int(v) for v in attrs.strides],
        padding=padding,
        dilation=[int(v) for v in attrs.dilation],
        ceil_mode=bool(attrs.ceil_mode),
        count_include_pad=counted,
    )
