"""One composite function as a ``Layer`` with its parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qmc.errors import UnsupportedOpError
from qmc.layer import Layer, LoopBounds, Op
from qmc.network import FloatArray, GivenWeights, Parameters
from qmc.passes.canonicalize_clip import clamp_limits
from qmc.passes.data_movement import movement_of
from qmc.passes.relax_expr import (
    bindings,
    channel_vector,
    constant,
    inputs,
    is_channels_first,
    op_name,
    slices_of,
    static_shape,
)
from qmc.passes.weights import read_weights

Result = tuple[Layer | None, Parameters | None]


@dataclass(frozen=True, slots=True)
class LayerContext:
    """What a composite function does not say about its layer.

    Attributes:
        path: the model's file, for messages.
        name: of the layer.
        operator: of the ONNX node, for messages.
        inputs: tensor names by parameter of the composite function.
        output: tensor name.
        source: names of the ONNX nodes.
        weight_bits: width of sub-byte weights by node index.
        may_vanish: whether the readers of a reshape that moves nothing can read its input instead.
    """

    path: str
    name: str
    operator: str
    inputs: Mapping[Any, str]
    output: str
    source: tuple[str, ...]
    weight_bits: Mapping[str, int]
    may_vanish: bool

    def unsupported(self, rule: str) -> UnsupportedOpError:
        """The error that names this layer, its operator and the broken rule."""
        return UnsupportedOpError(self.path, self.name, self.operator, rule)

    def layer(
        self, op: Op, bounds: LoopBounds, operands: Sequence[Any] | None = None, **fields: Any
    ) -> Layer:
        """A layer with this context's names; ``operands`` are its inputs where order matters."""
        read = list(self.inputs) if operands is None else operands
        inputs = tuple(self.inputs[parameter] for parameter in read)
        return Layer(self.name, op, inputs, self.output, bounds, source=self.source, **fields)


def read_layer(function: Any, context: LayerContext) -> Result:
    """Layer and parameters of a composite; a reshape that moves nothing gives no layer.

    Raises:
        UnsupportedOpError: the composite breaks a rule of its operation.
    """
    kind = str(function.attrs["Composite"]).removeprefix("qmc.")
    return _READERS[kind](function, list(bindings(function).values()), context)


def network_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A tensor's shape as the network has it: (1, C, L) becomes (1, C, 1, L)."""
    return (*shape[:2], 1, shape[2]) if len(shape) == 3 else shape


def _pointwise(shape: tuple[int, ...]) -> LoopBounds:
    """Bounds of a layer without weights: its output, channel by channel."""
    shape = network_shape(shape)
    height, width = shape[2:] if len(shape) == 4 else (1, 1)
    return LoopBounds(G=shape[1], P=height, Q=width)


def _clamp(calls: list[Any]) -> tuple[float, float] | None:
    return clamp_limits(calls[-1]) if len(calls) > 1 else None


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])


def _quad(values: Any) -> tuple[int, int, int, int]:
    return int(values[0]), int(values[1]), int(values[2]), int(values[3])


def _check_layout(call: Any, context: LayerContext) -> None:
    if not is_channels_first(call):
        raise context.unsupported("a layout of its own; allowed: NCHW, weights OIHW")


def _bias(calls: list[Any], channels: int) -> FloatArray:
    for call in calls:
        if op_name(call) == "relax.add":
            value = constant(call.args[1])
            vector = None if value is None else channel_vector(value, static_shape(call))
            if vector is not None:
                return vector.astype(np.float32)
    return np.zeros(channels, np.float32)


def _parameters(
    context: LayerContext, weights: FloatArray, bias: FloatArray, given: GivenWeights | None
) -> Parameters:
    if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
        rule = "weights or bias become NaN or infinite when batch norms and constants are folded"
        raise context.unsupported(rule)
    return Parameters(weights, bias, given)


def _conv(function: Any, calls: list[Any], context: LayerContext) -> Result:
    call = next(c for c in calls if op_name(c) == "relax.nn.conv2d")
    attrs = call.attrs
    _check_layout(call, context)
    weights, given = read_weights(call.args[1], bindings(function), context)
    _, _, height, width = static_shape(call)
    groups = int(attrs.groups)
    outputs, channels, rows, columns = weights.shape
    bounds = LoopBounds(
        G=groups, K=outputs // groups, C=channels, P=height, Q=width, R=rows, S=columns
    )
    layer = context.layer(
        Op.CONV,
        bounds,
        strides=_pair(attrs.strides),
        dilations=_pair(attrs.dilation),
        pads=_quad(attrs.padding),
        clamp=_clamp(calls),
    )
    return layer, _parameters(context, weights, _bias(calls, outputs), given)


def _dense(function: Any, calls: list[Any], context: LayerContext) -> Result:
    call = next(c for c in calls if op_name(c) == "relax.matmul")
    if len(static_shape(call)) != 2:
        raise context.unsupported(f"result {static_shape(call)}; allowed: (1, features)")
    weights, given = read_weights(call.args[1], bindings(function), context)
    weights = np.ascontiguousarray(weights.T)[:, :, None, None]
    if given is not None:
        codes = np.ascontiguousarray(given.codes.T)[:, :, None, None]
        given = GivenWeights(codes, given.scales, given.bits)
    outputs, channels = weights.shape[:2]
    layer = context.layer(Op.DENSE, LoopBounds(K=outputs, C=channels), clamp=_clamp(calls))
    return layer, _parameters(context, weights, _bias(calls, outputs), given)


def _add(function: Any, calls: list[Any], context: LayerContext) -> Result:
    operands = list(calls[0].args)
    first, second = (static_shape(operand) for operand in operands)
    if first != second or inputs(calls[0]) != operands:
        rule = (
            f"operands {first} and {second}; allowed: two activations of one shape, "
            "or a constant number or one per channel"
        )
        raise context.unsupported(rule)
    return context.layer(Op.ADD, _pointwise(first), operands, clamp=_clamp(calls)), None


def _mul(function: Any, calls: list[Any], context: LayerContext) -> Result:
    operands = sorted(calls[0].args, key=lambda a: math.prod(static_shape(a)), reverse=True)
    first, second = (static_shape(operand) for operand in operands)
    channels = (*first[:2], *(1 for _ in first[2:]))
    if second not in (first, channels) or len(inputs(calls[0])) != 2:
        rule = f"operands {first} and {second}; allowed: activations, equal or one (N, C, 1, 1)"
        raise context.unsupported(rule)
    return context.layer(Op.MUL, _pointwise(first), operands), None


def _concat(function: Any, calls: list[Any], context: LayerContext) -> Result:
    shape = static_shape(calls[0])
    if calls[0].attrs.axis is None or int(calls[0].attrs.axis) % len(shape) != 1:
        raise context.unsupported(f"axis {calls[0].attrs.axis}; allowed: 1 (channels)")
    return context.layer(Op.CONCAT, _pointwise(shape), inputs(calls[0])), None


def _pool(op: Op) -> Callable[[Any, list[Any], LayerContext], Result]:
    def read(function: Any, calls: list[Any], context: LayerContext) -> Result:
        call, attrs = calls[0], calls[0].attrs
        _check_layout(call, context)
        _, channels, height, width = static_shape(call)
        rows, columns = _pair(attrs.pool_size)
        strides, dilations = _pair(attrs.strides), _pair(attrs.dilation)
        pads = _quad(attrs.padding)
        counted = bool(attrs.count_include_pad) and op is Op.AVERAGE_POOL and any(pads)
        covering = _covering_pads(call, pads)
        if counted and covering != pads:
            rule = (
                "count_include_pad with a window beyond the pads (ceil_mode); allowed: one of both"
            )
            raise context.unsupported(rule)
        bounds = LoopBounds(G=channels, P=height, Q=width, R=rows, S=columns)
        layer = context.layer(
            op,
            bounds,
            strides=strides,
            dilations=dilations,
            pads=covering,
            count_include_pad=counted,
        )
        return layer, None

    return read


def _covering_pads(call: Any, pads: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Pads that reach the end of the last window, beyond the stated ones under ceil_mode."""
    attrs = call.attrs
    ends = []
    for axis in range(2):
        size, outputs = static_shape(call.args[0])[2 + axis], static_shape(call)[2 + axis]
        window = (int(attrs.pool_size[axis]) - 1) * int(attrs.dilation[axis]) + 1
        reach = (outputs - 1) * int(attrs.strides[axis]) + window
        ends.append(max(pads[2 + axis], reach - size - pads[axis]))
    return pads[0], pads[1], ends[0], ends[1]


def _lookup(function: Any, calls: list[Any], context: LayerContext) -> Result:
    layer = context.layer(
        Op.LOOKUP, _pointwise(static_shape(calls[-1])), function=_function_key(function, calls[-1])
    )
    return layer, None


def _function_key(function: Any, call: Any) -> str:
    if "qmc.function" in function.attrs:
        return str(function.attrs["qmc.function"])
    if op_name(call) == "relax.nn.leakyrelu":
        return f"leaky_relu:{float(call.attrs.alpha):.6g}"
    limits = clamp_limits(call)
    if limits == (0.0, math.inf):
        return "relu"
    if limits is not None:
        return f"clip:{limits[0]:.9g}:{limits[1]:.9g}"
    return op_name(call).removeprefix("relax.")


def _softmax(function: Any, calls: list[Any], context: LayerContext) -> Result:
    shape = static_shape(calls[0])
    axis = int(calls[0].attrs.axis) % len(shape)
    if axis != 1 and math.prod(shape[1:]) != shape[axis]:
        raise context.unsupported(f"axis {axis}; allowed: 1 (channels)")
    return context.layer(Op.SOFTMAX, _pointwise(shape)), None


def _reshape(function: Any, calls: list[Any], context: LayerContext) -> Result:
    source, target = static_shape(function.params[0]), static_shape(calls[-1])
    movement = movement_of(function.params[0], calls, source)
    if movement is None or max(len(source), len(target)) > 4:
        rule = (
            f"{list(source)} to {list(target)}; allowed: one transpose of 2 to 4 axes and a reshape"
        )
        raise context.unsupported(rule)
    if movement.is_identity(network_shape(target)) and context.may_vanish:
        return None, None
    return context.layer(Op.RESHAPE, _pointwise(target), perm=movement.perm), None


def _slice(function: Any, calls: list[Any], context: LayerContext) -> Result:
    call = calls[0]
    if op_name(call) == "relax.reshape":  # to (1, groups, channels, pixels): a channel shuffle
        bounds, groups = _pointwise(static_shape(calls[-1])), static_shape(call)[1]
        return context.layer(Op.SLICE, bounds, interleave=groups), None
    kept = slices_of(call)
    if any(step < 1 for _, _, step in kept) or any(step > 1 for _, _, step in kept[:2]):
        steps = [step for _, _, step in kept]
        rule = f"steps {steps}; allowed: 1 for channels, 1 or more for rows and columns"
        raise context.unsupported(rule)
    if len(kept) == 3:  # (1, C, L) is (1, C, 1, L)
        kept = [*kept[:2], (0, 1, 1), kept[2]]
    rows, columns = [*kept[2:], (0, 1, 1), (0, 1, 1)][:2]
    layer = context.layer(
        Op.SLICE,
        _pointwise(static_shape(call)),
        strides=(rows[2], columns[2]),
        starts=(kept[1][0], rows[0], columns[0]),
    )
    return layer, None


_READERS: dict[str, Callable[[Any, list[Any], LayerContext], Result]] = {
    "conv": _conv,
    "dense": _dense,
    "add": _add,
    "mul": _mul,
    "concat": _concat,
    "max_pool": _pool(Op.MAX_POOL),
    "average_pool": _pool(Op.AVERAGE_POOL),
    "lookup": _lookup,
    "softmax": _softmax,
    "reshape": _reshape,
    "slice": _slice,
}
