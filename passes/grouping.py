"""Putting calls of ``main`` into composite functions while variables keep their names.

TVM's ``FuseOpsByPattern`` renames each group's result, and with it the ONNX node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax

from qmc.passes.relax_expr import bindings, inputs, node_index, op_name


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Calls that become one composite function.

    Attributes:
        composite: value of the function attribute ``Composite``.
        members: variables of ``main`` in execution order; the last is the only one read outside.
        attrs: further function attributes.
    """

    composite: str
    members: tuple[Any, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


def compose(module: Any, groups: Sequence[Group]) -> Any:
    """Replace the members of each group by a call of its composite function."""
    if not groups:
        return module
    main = module["main"]
    values = bindings(main)
    group_of = {group.members[-1]: group for group in groups}
    inner = {member for group in groups for member in group.members[:-1]}
    builder = relax.BlockBuilder(
        tvm.IRModule({g: f for g, f in module.functions_items() if g.name_hint != "main"})
    )
    renamed: dict[Any, Any] = {}
    labels = _Labels(module)
    with builder.function("main", list(main.params), attrs=dict(main.attrs or {})):
        with builder.dataflow():
            for variable, value in values.items():
                if variable in inner:
                    continue
                if variable in group_of:
                    value = _call(labels, builder, group_of[variable], values)
                renamed[variable] = builder.emit(substitute(value, renamed), variable.name)
            result = builder.emit_output(substitute(main.body.body, renamed))
        builder.emit_func_output(result)
    return builder.get().with_attrs(dict(module.attrs or {}))


def _call(labels: _Labels, builder: Any, group: Group, values: Mapping[Any, Any]) -> Any:
    """Add the composite function of a group; returns its call, in terms of main's variables."""
    members = set(group.members)
    read = (v for member in group.members for v in inputs(values[member]))
    outer = list(dict.fromkeys(v for v in read if v not in members))
    parameters = {v: relax.Var(v.name, v.ty) for v in outer}
    renamed = dict(parameters)
    inside = relax.BlockBuilder()
    with inside.function("composite", list(parameters.values()), private=True):
        with inside.dataflow():
            for member in group.members[:-1]:
                renamed[member] = inside.emit(substitute(values[member], renamed), member.name)
            last = group.members[-1]
            result = inside.emit_output(substitute(values[last], renamed), last.name)
        inside.emit_func_output(result)
    named = [m for m in group.members if op_name(values[m]) != "relax.dequantize"]
    labelled = labels.attributes(named, group.members)
    attrs = {"Composite": group.composite, **labelled, **group.attrs}
    function = inside.get()["composite"].with_attrs({"Primitive": True, **attrs})
    name = f"{group.composite.replace('.', '_')}_{last.name}"
    return tvm.ir.Call(builder.add_func(function, name), outer)


class _Labels:
    """Names composites after their ONNX nodes; unique, as one node may become several layers."""

    def __init__(self, module: Any) -> None:
        self._nodes = (module.attrs or {}).get("qmc.nodes", [])
        self._taken = {layer_of(function) for function in module.functions.values()}

    def attributes(self, named: Sequence[Any], members: Sequence[Any]) -> dict[str, Any]:
        """``qmc.layer``: name of the first node; ``qmc.sources``: indices of all of them.

        Args:
            named: members that may name the layer (not the weights' DequantizeLinear).
            members: all of them.
        """
        indices = _indices(named)
        has_name = bool(indices) and bool(self._nodes)
        wanted = str(self._nodes[indices[0]][0]) if has_name else named[-1].name
        name, copies = wanted, 1
        while name in self._taken:
            copies += 1
            name = f"{wanted}_{copies}"
        self._taken.add(name)
        return {"qmc.layer": name, "qmc.sources": _indices(members)}


def _indices(members: Iterable[Any]) -> list[int]:
    found = (node_index(member.name) for member in members)
    return list(dict.fromkeys(index for index in found if index is not None))


def layer_of(function: Any) -> str:
    """Layer name of a composite; empty for other functions."""
    is_relax = isinstance(function, relax.Function) and function.attrs
    return str(function.attrs.get("qmc.layer", "")) if is_relax else ""


def substitute(expr: Any, renamed: Mapping[Any, Any]) -> Any:
    """``expr`` with variables replaced."""
    if isinstance(expr, tvm.ir.Var):
        return renamed.get(expr, expr)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([substitute(item, renamed) for item in expr.fields])
    if isinstance(expr, relax.TupleGetItem):
        return relax.TupleGetItem(substitute(expr.tuple_value, renamed), expr.index)
    if isinstance(expr, tvm.ir.Call):
        arguments = [substitute(argument, renamed) for argument in expr.args]
        return tvm.ir.Call(expr.op, arguments, expr.attrs, expr.ty_args)
    return expr
