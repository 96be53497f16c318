"""Pass: the graph becomes one composite function per layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm

from qmc.passes.data_movement import TRANSPOSE, is_channel_shuffle
from qmc.passes.grouping import Group, compose
from qmc.passes.relax_expr import (
    bindings,
    channel_vector,
    constant,
    inputs,
    op_name,
    static_shape,
)
from qmc.passes.rewriter import use_counts

#: Calls that begin a layer.
_HEADS = {
    "relax.nn.conv2d": "qmc.conv",
    "relax.matmul": "qmc.dense",
    "relax.add": "qmc.add",
    "relax.multiply": "qmc.mul",
    "relax.concat": "qmc.concat",
    "relax.nn.max_pool2d": "qmc.max_pool",
    "relax.nn.avg_pool2d": "qmc.average_pool",
    "relax.sigmoid": "qmc.lookup",
    "relax.tanh": "qmc.lookup",
    "relax.nn.leakyrelu": "qmc.lookup",
    "relax.nn.relu": "qmc.lookup",
    "relax.clip": "qmc.lookup",
    "relax.nn.softmax": "qmc.softmax",
    "relax.permute_dims": "qmc.reshape",
    "relax.reshape": "qmc.reshape",
    "relax.strided_slice": "qmc.slice",
}
_MACS = ("relax.nn.conv2d", "relax.matmul")
_BIASED = ("qmc.conv", "qmc.dense")
_CLAMPED = ("qmc.conv", "qmc.dense", "qmc.add")
_CLAMPS = ("relax.nn.relu", "relax.clip")


@tvm.transform.module_pass(opt_level=0, name="Partition")
@dataclass(frozen=True)
class Partition:
    """Group the calls of each layer into a composite function named after its operation.

    ::

        relu(conv2d(x, W) + b)  ->  qmc_conv_stem(x) with Composite="qmc.conv", qmc.layer="stem"

    Composites: ``qmc.conv`` and ``qmc.dense`` (weights as ``dequantize(const)`` where they arrived
    quantized; bias; clamp), ``qmc.add`` (clamp), ``qmc.mul``, ``qmc.concat``, ``qmc.max_pool``,
    ``qmc.average_pool``, ``qmc.lookup``, ``qmc.softmax``, ``qmc.reshape`` (transpose, reshape),
    ``qmc.slice`` (channel shuffles too).
    Each has the attributes ``qmc.layer`` (name of its first ONNX node) and ``qmc.sources``
    (indices of all its nodes).
    Requires: the canonicalizing passes before it.
    Does not fire when: a call begins none of these; ``extract_network`` refuses it later.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        main = module["main"]
        values, uses = bindings(main), use_counts(main)
        groups: dict[Any, tuple[str, list[Any]]] = {}  # by the variable that ends the group
        for variable, call in values.items():
            producer = _extended_group(call, groups, values, uses)
            if producer is not None:
                kind, members = groups.pop(producer)
                groups[variable] = (kind, [*members, variable])
                _join_shuffle(variable, groups, values, uses)
            elif op_name(call) in _HEADS:
                kind = _HEADS[op_name(call)]
                weights = _weights(call, values) if kind in _BIASED else []
                groups[variable] = (kind, [*weights, variable])
        return compose(module, [Group(kind, tuple(members)) for kind, members in groups.values()])


def _extended_group(
    call: Any,
    groups: Mapping[Any, tuple[str, list[Any]]],
    values: Mapping[Any, Any],
    uses: Mapping[Any, int],
) -> Any | None:
    """The end of the group that ``call`` belongs to as bias, clamp or reshape; None otherwise."""
    producer = call.args[0] if isinstance(call, tvm.ir.Call) and call.args else None
    if producer not in groups or uses[producer] != 1:
        return None
    kind = groups[producer][0]
    last = op_name(values[producer])
    match op_name(call):
        case "relax.add":
            return producer if kind in _BIASED and last in _MACS and _is_bias(call) else None
        case "relax.nn.relu" | "relax.clip":
            return producer if kind in _CLAMPED and last not in _CLAMPS else None
        case "relax.reshape":
            return producer if last == "relax.permute_dims" else None
    return None


def _join_shuffle(
    last: Any,
    groups: dict[Any, tuple[str, list[Any]]],
    values: Mapping[Any, Any],
    uses: Mapping[Any, int],
) -> None:
    """Make one group of a channel shuffle: a reshape, a transpose and the reshape ``last`` back."""
    swapped = groups[last][1][0]
    if op_name(values[swapped]) != TRANSPOSE:
        return
    view = values[swapped].args[0]
    if view not in groups or uses[view] != 1 or op_name(values[view]) != "relax.reshape":
        return
    source = values[view].args[0]
    if len(static_shape(source)) != 4 or static_shape(source) != static_shape(last):
        return
    chain = [values[view], values[swapped], values[last]]
    if is_channel_shuffle(static_shape(source), chain):
        groups[last] = ("qmc.slice", [view, swapped, last])
        del groups[view]


def _is_bias(call: Any) -> bool:
    """Whether ``call`` adds a constant per channel, and no more, to its first operand."""
    value, shape = constant(call.args[1]), static_shape(call)
    if value is None or shape != static_shape(call.args[0]):
        return False
    return channel_vector(value, shape) is not None


def _weights(call: Any, values: Mapping[Any, Any]) -> list[Any]:
    """The variable of a layer's ``dequantize(const)``, which belongs to the layer."""
    return [
        variable
        for variable in inputs(call)
        if op_name(values.get(variable)) == "relax.dequantize"
        and constant(values[variable].args[0]) is not None
    ]
