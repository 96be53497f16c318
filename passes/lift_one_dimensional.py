"""Pass: 1-D convolutions, pools and what lies between them work on images of height 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.relax_expr import (
    constant,
    is_channels_first,
    number,
    op_name,
    slices_of,
    static_shape,
)
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="LiftOneDimensional")
@dataclass(frozen=True)
class LiftOneDimensional:
    """Compute on (1, C, 1, L) what is defined on (1, C, L).

    ::

        y = conv1d(x, W)  ->  y4 = conv2d(reshape(x, (1, C, 1, L)), reshape(W, (K, C, 1, S)))
                              y = reshape(y4, (1, K, L'))

    An operation that reads ``y`` reads ``y4`` instead, so that reshapes remain at the ends only.
    Requires: batch 1. Ensures: no ``conv1d`` or 1-D pool is left.
    Does not fire when: a tensor has not three dimensions, or the operation is not elementwise, a
    convolution, a pool, a slice, a concatenation of channels or a batch normalization.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        lift = _LIFTS.get(op_name(call))
        data = _data(call)
        if lift is None or _rank(call) > 3 or not data or _rank(data[0]) != 3:
            return None
        lifted = lift(call, self._lifted)
        if lifted is None:
            return None
        if len(static_shape(call)) != 3:
            return lifted
        return relax.op.reshape(self.emit(lifted, self.variable.name), static_shape(call))

    def visit_tuple_getitem_(self, item: Any) -> Any:
        """Lift ``batch_norm(...)[0]``; called by TVM."""
        call = self.value(self.visit_expr(item.tuple_value))
        if op_name(call) != "relax.nn.batch_norm" or _rank(call.args[0]) != 3 or item.index != 0:
            return super().visit_tuple_getitem_(item)
        self.changed = True
        attrs = call.attrs
        lifted = relax.op.nn.batch_norm(
            self._lifted(call.args[0]), *call.args[1:5], axis=1, epsilon=float(attrs.epsilon)
        )
        image = self.emit(relax.TupleGetItem(self.emit(lifted), 0))
        return relax.op.reshape(image, static_shape(call.args[0]))

    def _lifted(self, expr: Any) -> Any:
        """``expr`` with an axis of extent 1 before the last."""
        if (value := constant(expr)) is not None:
            if value.size == 1:
                return expr
            shape = (1,) * (3 - value.ndim) + value.shape
            image = value.reshape(shape[0], shape[1], 1, shape[2])
            return relax.const(image, str(value.dtype))
        shape = static_shape(expr)
        if len(shape) != 3:
            return expr
        source = self.value(expr)
        wanted = (*shape[:2], 1, shape[2])
        if op_name(source) == "relax.reshape" and static_shape(source.args[0]) == wanted:
            return source.args[0]
        return self.emit(relax.op.reshape(expr, wanted))


def _rank(expr: Any) -> int:
    return len(static_shape(expr))


def _data(call: Any) -> list[Any]:
    """The activations that ``call`` reads."""
    read = [f for a in call.args for f in (a.fields if isinstance(a, relax.Tuple) else [a])]
    return [argument for argument in read if constant(argument) is None]


def _conv(call: Any, lifted: Callable[[Any], Any]) -> Any | None:
    if not is_channels_first(call):
        return None
    attrs, weights = call.attrs, call.args[1]
    outputs, channels, columns = static_shape(weights)
    return relax.op.nn.conv2d(
        lifted(call.args[0]),
        relax.op.reshape(weights, (outputs, channels, 1, columns)),
        strides=[1, int(attrs.strides[0])],
        padding=[0, int(attrs.padding[0]), 0, int(attrs.padding[1])],
        dilation=[1, int(attrs.dilation[0])],
        groups=int(attrs.groups),
    )


def _pool(operator: Any) -> Callable[[Any, Callable[[Any], Any]], Any]:
    def lift(call: Any, lifted: Callable[[Any], Any]) -> Any | None:
        if not is_channels_first(call):
            return None
        attrs = call.attrs
        return operator(
            lifted(call.args[0]),
            pool_size=[1, int(attrs.pool_size[0])],
            strides=[1, int(attrs.strides[0])],
            padding=[0, int(attrs.padding[0]), 0, int(attrs.padding[1])],
            dilation=[1, int(attrs.dilation[0])],
            ceil_mode=bool(attrs.ceil_mode),
            count_include_pad=bool(attrs.count_include_pad),
        )

    return lift


def _elementwise(call: Any, lifted: Callable[[Any], Any]) -> Any:
    arguments = [a if number(a) is not None else lifted(a) for a in call.args]
    return tvm.ir.Call(call.op, arguments, call.attrs)


def _concat(call: Any, lifted: Callable[[Any], Any]) -> Any | None:
    if int(call.attrs.axis) % 3 != 1:
        return None
    return relax.op.concat([lifted(item) for item in call.args[0].fields], axis=1)


def _slice(call: Any, lifted: Callable[[Any], Any]) -> Any:
    kept = slices_of(call)
    starts, ends, steps = zip(kept[1], kept[2], strict=True)
    return relax.op.strided_slice(lifted(call.args[0]), [1, 3], starts, ends, steps)


def _reduce(operator: Any) -> Callable[[Any, Callable[[Any], Any]], Any]:
    def lift(call: Any, lifted: Callable[[Any], Any]) -> Any | None:
        axes = call.attrs.axis
        if axes is None or [int(axis) % 3 for axis in axes] != [2]:
            return None
        return operator(lifted(call.args[0]), [2, 3], bool(call.attrs.keepdims))

    return lift


_ELEMENTWISE = (
    "nn.relu nn.relu6 nn.leakyrelu nn.silu nn.gelu nn.gelu_tanh clip sigmoid tanh erf exp log abs "
    "negative power add subtract multiply divide maximum minimum"
).split()

_LIFTS: dict[str, Callable[[Any, Callable[[Any], Any]], Any]] = {
    **{f"relax.{name}": _elementwise for name in _ELEMENTWISE},
    "relax.nn.conv1d": _conv,
    "relax.nn.max_pool1d": _pool(relax.op.nn.max_pool2d),
    "relax.nn.avg_pool1d": _pool(relax.op.nn.avg_pool2d),
    "relax.concat": _concat,
    "relax.strided_slice": _slice,
    "relax.mean": _reduce(relax.op.mean),
    "relax.max": _reduce(relax.op.max),
}
