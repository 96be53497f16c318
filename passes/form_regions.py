"""Pass: layers that follow each other become one function for qmc's code generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from qmc.passes.extract_network import is_layer
from qmc.passes.find_regions import Graph, Region, find_regions
from qmc.passes.grouping import layer_of, substitute
from qmc.passes.region_module import region_function
from qmc.passes.relax_expr import bindings, inputs, is_activation, node_index

#: Layers that are worth quantizing a tensor for.
_WEIGHTED = ("qmc.conv", "qmc.dense")


@tvm.transform.module_pass(opt_level=0, name="FormRegions")
@dataclass(frozen=True)
class FormRegions:
    """Put layers into region functions, and the calls of all other composites back into ``main``.

    ::

        a = qmc_conv_a(x); b = qmc_conv_b(a); c = sin(b); d = qmc_dense_d(c)
        ->  b = qmc_main_0(x); c = sin(b); d = qmc_main_1(c)      with Codegen="qmc"

    A region has one input and one output, which stay float32; what lies between becomes integers.
    Its function has the attributes ``qmc.*`` of the module, with its own ``qmc.interface``.
    Requires: ``Partition``. Ensures: no composite is called in ``main``.
    Does not fire when: a layer is outside qmc's rules, or there is no convolution or dense layer in
    reach of it: quantizing its input would cost more than it saves.

    Attributes:
        prefix: of the functions' names.
    """

    prefix: str = "qmc_main"

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        main = module["main"]
        values = bindings(main)
        found = find_regions(*_graph(module, main, values))
        names = _TensorNames(module, main)
        functions = {
            region.members[-1]: region_function(
                _module_of(module, region, values, names), f"{self.prefix}_{index}"
            )
            for index, region in enumerate(found)
        }
        inner = {member for region in found for member in region.members[:-1]}
        entries = {region.members[-1]: region.entry for region in found}
        builder = relax.BlockBuilder(_without_composites(module))
        renamed: dict[Any, Any] = {}
        with builder.function("main", list(main.params), attrs=dict(main.attrs or {})):
            with builder.dataflow():
                for variable, value in values.items():
                    if variable in inner:
                        continue
                    if variable in functions:
                        function = functions[variable]
                        target = builder.add_func(function, str(function.attrs["global_symbol"]))
                        value = tvm.ir.Call(target, [entries[variable]])
                    value = _inlined(builder, module, substitute(value, renamed))
                    renamed[variable] = builder.emit(value, variable.name)
                result = builder.emit_output(substitute(main.body.body, renamed))
            builder.emit_func_output(result)
        return builder.get().with_attrs(dict(module.attrs or {}))


def _graph(
    module: Any, main: Any, values: Mapping[Any, Any]
) -> tuple[Graph, set[Any], set[Any], set[Any]]:
    """Arguments of :func:`find_regions`."""
    reads = {variable: tuple(inputs(value)) for variable, value in values.items()}
    graph = Graph(tuple(main.params), reads, tuple(inputs(main.body.body)))
    entries = {v for v in (*main.params, *values) if is_activation(v)}
    layers = {v for v, value in values.items() if v in entries and is_layer(module, value)}
    wanted = {v for v in layers if module[values[v].op].attrs["Composite"] in _WEIGHTED}
    return graph, entries, layers, wanted


class _TensorNames:
    """What the tensors of ``main`` are called where they enter or leave a region."""

    def __init__(self, module: Any, main: Any) -> None:
        attrs = module.attrs or {}
        interface = {str(k): str(v) for k, v in attrs.get("qmc.interface", {}).items()}
        self._nodes = attrs.get("qmc.nodes", [])
        self._known = {}
        if "input" in interface:
            self._known[main.params[0]] = interface["input"]
        if "output" in interface and isinstance(main.body.body, tvm.ir.Var):
            self._known[main.body.body] = interface["output"]

    def of(self, variable: Any) -> str:
        """The ONNX name where there is one, else the variable's."""
        if variable in self._known:
            return self._known[variable]
        index = node_index(variable.name)
        return variable.name if index is None or not self._nodes else str(self._nodes[index][1])


def _module_of(module: Any, region: Region, values: Mapping[Any, Any], names: _TensorNames) -> Any:
    """A region as a module of its own."""
    builder = relax.BlockBuilder()
    source = relax.Var(region.entry.name, region.entry.ty)
    renamed: dict[Any, Any] = {region.entry: source}
    last = region.members[-1]
    with builder.function("main", [source]):
        with builder.dataflow():
            for member in region.members:
                call = values[member]
                composite = builder.add_func(module[call.op], call.op.name_hint)
                inner = tvm.ir.Call(composite, [substitute(a, renamed) for a in call.args])
                emit = builder.emit_output if member is last else builder.emit
                renamed[member] = emit(inner, member.name)
        builder.emit_func_output(renamed[last])
    interface = {"input": names.of(region.entry), "output": names.of(last)}
    attrs = {n: v for n, v in (module.attrs or {}).items() if str(n).startswith("qmc.")}
    return builder.get().with_attrs({**attrs, "qmc.interface": interface})


def _without_composites(module: Any) -> Any:
    kept = {
        variable: function
        for variable, function in module.functions_items()
        if variable.name_hint != "main" and not layer_of(function)
    }
    return tvm.IRModule(kept)


def _inlined(builder: Any, module: Any, value: Any) -> Any:
    """``value``, or the last value of the composite that it calls, the others emitted."""
    is_call = isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.GlobalVar)
    if not is_call or value.op not in module.functions or not layer_of(module[value.op]):
        return value
    function = module[value.op]
    renamed: dict[Any, Any] = dict(zip(function.params, value.args, strict=True))
    *others, (last, result) = bindings(function).items()
    for variable, inner in others:
        renamed[variable] = builder.emit(substitute(inner, renamed), variable.name)
    assert last.same_as(function.body.body)
    return substitute(result, renamed)
