"""From the partitioned module to plain data: one ``Layer`` for each composite call of ``main``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import tvm
from tvm import relax

from qmc.errors import ModelError, UnsupportedOpError
from qmc.layer import Layer
from qmc.network import GivenRange, Network, Parameters, Tensor
from qmc.passes.absorb_quantization import range_key
from qmc.passes.read_layer import LayerContext, network_shape, read_layer
from qmc.passes.relax_expr import bindings, inputs, node_index, op_name, static_shape


@dataclass(slots=True)
class _Extraction:
    """What has been read so far; ``names`` maps variables of ``main`` to tensor names."""

    names: dict[Any, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    parameters: dict[str, Parameters] = field(default_factory=dict)


class Named(Protocol):
    """Where a module came from; :class:`qmc.frontend.Imported` is one."""

    @property
    def name(self) -> str:
        """The network's C identifier."""

    @property
    def path(self) -> Path:
        """The model's file, for messages."""


def extract_network(module: Any, imported: Named | None = None) -> Network:
    """Read a partitioned (or annotated) module.

    Args:
        module: result of the passes up to ``Partition`` or ``AnnotateQuantization``.
        imported: names the network and the model's file; "module" if absent.

    Raises:
        UnsupportedOpError: a call was taken into no layer, or is outside the rules of its layer.
    """
    name, path = (imported.name, str(imported.path)) if imported else ("module", "module")
    main = module["main"]
    extraction = _Extraction()
    source = main.params[0]
    interface = {str(k): str(v) for k, v in (module.attrs or {}).get("qmc.interface", {}).items()}
    extraction.names[source] = interface.get("input", source.name)
    _add_tensor(extraction, source)
    for variable, value in bindings(main).items():
        _read_binding(extraction, module, path, variable, value)
    result = extraction.names[main.body.body]
    network = Network(
        name=name,
        tensors=extraction.tensors,
        layers=tuple(extraction.layers),
        parameters=extraction.parameters,
        input=extraction.names[source],
        output=result,
        given_ranges=_given_ranges(module, extraction),
    )
    if not network.layers:
        raise ModelError(path, "has no layers")
    return _with_output_name(network, interface.get("output", result))


def _read_binding(
    extraction: _Extraction, module: Any, path: str, variable: Any, value: Any
) -> None:
    if isinstance(value, tvm.ir.Var):
        extraction.names[variable] = extraction.names[value]
        return
    function = _composite(module, value)
    if function is None:
        node, operator = _node_name(module, variable), op_name(value) or type(value).__name__
        rule = "has no integer form here; see the list of supported layers in the documentation"
        raise UnsupportedOpError(path, node, operator.removeprefix("relax."), rule)
    names = [extraction.names[argument] for argument in value.args]
    context = LayerContext(
        path=path,
        name=str(function.attrs["qmc.layer"]),
        inputs=dict(zip(function.params, names, strict=True)),
        output=_tensor_name(module, variable),
        source=_source_names(module, function),
        weight_bits={str(k): int(v) for k, v in module.attrs.get("qmc.weight_bits", {}).items()},
        may_vanish=_may_vanish(module, variable, value),
    )
    shape = static_shape(variable)
    if shape[0] != 1 or not 2 <= len(shape) <= 4:
        rule = f"result {list(shape)}; allowed: batch 1, 2 to 4 dimensions"
        operator = str(function.attrs["Composite"]).removeprefix("qmc.")
        raise context.unsupported(operator, rule)
    layer, parameters = read_layer(function, context)
    if layer is None:  # moves nothing
        extraction.names[variable] = names[0]
        return
    extraction.layers.append(layer)
    if parameters is not None:
        extraction.parameters[layer.name] = parameters
    extraction.names[variable] = layer.output
    _add_tensor(extraction, variable)


def _may_vanish(module: Any, variable: Any, call: Any) -> bool:
    """Whether nothing minds the number of dimensions: dense layers flatten what they read."""
    if len(static_shape(variable)) == len(static_shape(call.args[0])):
        return True
    if len(static_shape(variable)) != 2:
        return len(static_shape(call.args[0])) == 3 or len(static_shape(variable)) == 3
    readers = [v for v in bindings(module["main"]).values() if variable in inputs(v)]
    functions = [_composite(module, reader) for reader in readers]
    return all(
        isinstance(reader, tvm.ir.Var)
        or (function is not None and function.attrs["Composite"] == "qmc.dense")
        for reader, function in zip(readers, functions, strict=True)
    )


def _composite(module: Any, value: Any) -> Any | None:
    if not (isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.GlobalVar)):
        return None
    function = module[value.op]
    is_ours = (
        isinstance(function, relax.Function)
        and function.attrs
        and str(function.attrs.get("Composite", "")).startswith("qmc.")
    )
    return function if is_ours else None


def _nodes(module: Any) -> list[tuple[str, str]]:
    return [(str(n), str(t)) for n, t in (module.attrs or {}).get("qmc.nodes", [])]


def _node_name(module: Any, variable: Any) -> str:
    index = node_index(variable.name)
    return variable.name if index is None else _nodes(module)[index][0]


def _tensor_name(module: Any, variable: Any) -> str:
    index = node_index(variable.name)
    nodes = _nodes(module)
    return variable.name if index is None or not nodes else nodes[index][1]


def _source_names(module: Any, function: Any) -> tuple[str, ...]:
    nodes = _nodes(module)
    sources = [int(index) for index in function.attrs["qmc.sources"]]
    return tuple(nodes[index][0] for index in sources) if nodes else ()


def _add_tensor(extraction: _Extraction, variable: Any) -> None:
    name = extraction.names[variable]
    extraction.tensors[name] = Tensor(name, network_shape(static_shape(variable)))


def _given_ranges(module: Any, extraction: _Extraction) -> Mapping[str, GivenRange]:
    """Quantization that came with the model, of the tensors that are still there."""
    table = (module.attrs or {}).get("qmc.given_ranges", {})
    ranges: dict[str, GivenRange] = {}
    for variable, tensor in extraction.names.items():
        text = table.get(range_key(variable.name))
        if text is not None and tensor not in ranges:
            bits, scale, zero_point = json.loads(str(text))
            ranges[tensor] = GivenRange(bits, scale, zero_point)
    return ranges


def _with_output_name(network: Network, wanted: str) -> Network:
    """Give the output tensor the name it has in the ONNX graph."""
    old = network.output
    if old == wanted or wanted in network.tensors:
        return network

    def renamed(name: str) -> str:
        return wanted if name == old else name

    layers = tuple(
        replace(
            layer,
            inputs=tuple(renamed(name) for name in layer.inputs),
            output=renamed(layer.output),
        )
        for layer in network.layers
    )
    tensors = {renamed(n): replace(t, name=renamed(n)) for n, t in network.tensors.items()}
    ranges = {renamed(n): value for n, value in network.given_ranges.items()}
    return replace(network, layers=layers, tensors=tensors, output=wanted, given_ranges=ranges)
