"""Reading Relax expressions: operators, constants, static shapes, node names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

Array = NDArray[Any]

_NODE_VARIABLE = re.compile(r"n(\d+)_")


def op_name(expr: Any) -> str:
    """Name of the operator that ``expr`` calls, for example ``relax.nn.conv2d``; else empty."""
    if isinstance(expr, tvm.ir.Call) and isinstance(expr.op, tvm.ir.Op):
        return str(expr.op.name)
    return ""


def constant(expr: Any) -> Array | None:
    """The value of a constant tensor, None for anything else."""
    if isinstance(expr, tvm.ir.GenericConst) and isinstance(expr.ty, relax.TensorType):
        return np.asarray(expr.value.numpy())
    return None


def static_shape(expr: Any) -> tuple[int, ...]:
    """Shape of a tensor; empty where it is not known at compile time."""
    shape = expr.ty.shape if isinstance(expr.ty, relax.TensorType) else None
    extents = list(shape.ty.values or () if isinstance(shape, tvm.ir.Var) else shape or ())
    is_static = all(isinstance(extent, int | tvm.tirx.IntImm) for extent in extents)
    return tuple(int(extent) for extent in extents) if is_static else ()


def slices_of(call: Any) -> list[tuple[int, int, int]]:
    """What ``strided_slice`` keeps of each axis: first, end and step, within the axis's extent."""
    axes, begins, ends = ([int(value) for value in argument.fields] for argument in call.args[1:4])
    steps = [int(value) for value in call.args[4].fields] if len(call.args) > 4 else [1] * len(axes)
    shape = static_shape(call.args[0])
    kept = [(0, extent, 1) for extent in shape]
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        kept[axis % len(shape)] = slice(begin, end, step).indices(shape[axis])
    return kept


def is_activation(expr: Any) -> bool:
    """Whether ``expr`` is a float32 tensor as networks have them: batch 1, 2 to 4 dimensions."""
    if not isinstance(expr.ty, relax.TensorType) or str(expr.ty.dtype) != "float32":
        return False
    shape = static_shape(expr)
    return 2 <= len(shape) <= 4 and shape[0] == 1


def is_channels_first(call: Any) -> bool:
    """Whether a convolution or pool has the layout of ONNX."""
    layouts = [getattr(call.attrs, name, "") for name in ("data_layout", "layout", "kernel_layout")]
    return {str(layout) for layout in layouts} <= {"", "NCHW", "NCW", "OIHW", "OIW"}


def number(expr: Any) -> float | None:
    """The value of a constant with one element, or of a primitive value."""
    if (value := constant(expr)) is not None:
        return float(value.reshape(-1)[0]) if value.size == 1 else None
    if isinstance(expr, tvm.tirx.FloatImm | tvm.tirx.IntImm):
        return float(expr.value)
    inner = getattr(expr, "value", None)
    return float(inner.value) if isinstance(inner, tvm.tirx.FloatImm | tvm.tirx.IntImm) else None


def channel_vector(value: Array, shape: tuple[int, ...]) -> Array | None:
    """A constant that varies along the channels of ``shape`` only, as (channels,); else None."""
    if len(shape) < 2:
        return None
    channels = shape[1]
    padded = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    if padded.ndim != len(shape) or padded.size not in (1, padded.shape[1]):
        return None
    if padded.shape[1] not in (1, channels):
        return None
    return np.broadcast_to(padded.reshape(-1), (channels,)).astype(np.float64)


def along_channels(values: Array, rank: int) -> Any:
    """A float32 constant (1, channels, 1, ...) of ``rank`` dimensions."""
    return relax.const(values.astype(np.float32).reshape((1, -1) + (1,) * (rank - 2)))


def node_index(variable_name: str) -> int | None:
    """Index of the ONNX node whose result a variable holds; None for a temporary."""
    match = _NODE_VARIABLE.match(variable_name)
    return int(match.group(1)) if match else None


def bindings(function: Any) -> dict[Any, Any]:
    """Variables of a function and their values, in execution order."""
    return {b.var: b.value for block in function.body.blocks for b in block.bindings}


def inputs(expr: Any) -> list[Any]:
    """The variables that an expression reads, in order."""
    if isinstance(expr, tvm.ir.Var):
        return [expr]
    if isinstance(expr, relax.Tuple):
        return [variable for item in expr.fields for variable in inputs(item)]
    if isinstance(expr, relax.TupleGetItem):
        return inputs(expr.tuple_value)
    if isinstance(expr, tvm.ir.Call):
        return [variable for argument in expr.args for variable in inputs(argument)]
    return []
