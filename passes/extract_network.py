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
from qmc.passes.grouping import layer_of
from qmc.passes.merge_shuffles import merge_shuffles
from qmc.passes.read_layer import LayerContext, network_shape, read_layer
from qmc.passes.relax_expr import bindings, inputs, node_index, op_name, static_shape


class Named(Protocol):
    """Where a module came from; :class:`qmc.frontend.Imported` is one."""

    @property
    def name(self) -> str:
        """The network's C identifier."""

    @property
    def path(self) -> Path:
        """The model's file, for messages."""


@dataclass(slots=True)
class _Extraction:
    """What has been read so far.

    Attributes:
        module: the partitioned module.
        values: bindings of ``main``.
        path: the model's file.
        nodes: (name, output tensor, operator) of the ONNX nodes.
        weight_bits: width of sub-byte weights by node index.
        names: tensor names by variable of ``main``.
        tensors: as in ``Network``.
        layers: as in ``Network``.
        parameters: as in ``Network``.
    """

    module: Any
    values: Mapping[Any, Any]
    path: str
    nodes: tuple[tuple[str, str, str], ...]
    weight_bits: Mapping[str, int]
    names: dict[Any, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    parameters: dict[str, Parameters] = field(default_factory=dict)

    def add_tensor(self, variable: Any, wanted: str) -> str:
        """Name the tensor of ``variable``, uniquely."""
        name, copies = wanted, 1
        while name in self.tensors:
            copies += 1
            name = f"{wanted}_{copies}"
        self.names[variable] = name
        self.tensors[name] = Tensor(name, network_shape(static_shape(variable)))
        return name


def extract_network(module: Any, imported: Named | None = None) -> Network:
    """Read a partitioned (or annotated) module.

    Args:
        module: result of the passes up to ``Partition`` or ``AnnotateQuantization``.
        imported: names the network and the model's file; "module" if absent.

    Raises:
        UnsupportedOpError: a call was taken into no layer, or is outside the rules of its layer.
        ModelError: nothing is left to compute.
    """
    name, path = (imported.name, str(imported.path)) if imported else ("module", "module")
    main, attrs = module["main"], dict(module.attrs or {})
    nodes = tuple((str(n), str(t), str(o)) for n, t, o in attrs.get("qmc.nodes", []))
    bits = {str(key): int(value) for key, value in attrs.get("qmc.weight_bits", {}).items()}
    interface = {str(key): str(value) for key, value in attrs.get("qmc.interface", {}).items()}
    extraction = _Extraction(module, bindings(main), path, nodes, bits)
    source = main.params[0]
    extraction.add_tensor(source, interface.get("input", source.name))
    for variable, value in extraction.values.items():
        _read_binding(extraction, variable, value)
    if not extraction.layers:
        raise ModelError(path, "computes nothing: its output is its input")
    network = Network(
        name=name,
        tensors=extraction.tensors,
        layers=tuple(extraction.layers),
        parameters=extraction.parameters,
        input=extraction.names[source],
        output=extraction.names[main.body.body],
        given_ranges=_given_ranges(attrs, extraction.names),
    )
    network = merge_shuffles(network)
    return _with_output_name(network, interface.get("output", network.output))


def _read_binding(extraction: _Extraction, variable: Any, value: Any) -> None:
    if isinstance(value, tvm.ir.Var):
        extraction.names[variable] = extraction.names[value]
        return
    function = _composite(extraction.module, value)
    if function is None:
        raise _no_layer(extraction, variable, value)
    context = _context(extraction, variable, value, function)
    shape = static_shape(variable)
    if shape[0] != 1 or not 2 <= len(shape) <= 4:
        raise context.unsupported(f"result {list(shape)}; allowed: batch 1, 2 to 4 dimensions")
    layer, parameters = read_layer(function, context)
    if layer is None:  # moves nothing
        extraction.names[variable] = extraction.names[value.args[0]]
        return
    output = extraction.add_tensor(variable, layer.output)
    extraction.layers.append(replace(layer, output=output))
    if parameters is not None:
        extraction.parameters[layer.name] = parameters


def _no_layer(extraction: _Extraction, variable: Any, value: Any) -> UnsupportedOpError:
    """The error for a call outside all composites; names the node that it helps to compute."""
    operator = op_name(value).removeprefix("relax.") or type(value).__name__
    later = list(extraction.values)
    later = later[later.index(variable) :]
    index = next((i for v in later if (i := node_index(v.name)) is not None), None)
    rule = f"operands {_operand_shapes(value)}; {_ALLOWED.get(op_name(value), 'no integer form')}"
    node = variable.name
    if index is not None and extraction.nodes:
        node, _, operator = extraction.nodes[index]
    return UnsupportedOpError(extraction.path, node, operator, rule)


_QUANTIZATION = "allowed: one scale per tensor, in pairs of equal parameters"
#: What is allowed, for the operators that are taken in some uses only.
_ALLOWED = {
    "relax.quantize": _QUANTIZATION,
    "relax.dequantize": _QUANTIZATION,
    "relax.nn.pad": "allowed: zeros around height and width, before a convolution or pool, with "
    "one quantization on both sides",
    "relax.mean": "allowed: over height and width",
    "relax.max": "allowed: over height and width",
    "relax.broadcast_to": "allowed: before a Mul with a value of that shape",
    "relax.where": "allowed: on constants and shapes",
    "relax.nn.batch_norm": "allowed: constant statistics",
}


def _operand_shapes(value: Any) -> str:
    arguments = value.args if isinstance(value, tvm.ir.Call) else []
    tensors = [a for a in arguments if isinstance(a.ty, relax.TensorType)]
    return ", ".join(str(list(static_shape(tensor))) for tensor in tensors)


def _context(extraction: _Extraction, variable: Any, call: Any, function: Any) -> LayerContext:
    nodes = extraction.nodes
    sources = [nodes[int(i)] for i in function.attrs["qmc.sources"]] if nodes else []
    name = str(function.attrs["qmc.layer"])
    kind = str(function.attrs["Composite"]).removeprefix("qmc.")
    index = node_index(variable.name)
    return LayerContext(
        path=extraction.path,
        name=name,
        operator=next((operator for node, _, operator in sources if node == name), kind),
        inputs={p: extraction.names[a] for p, a in zip(function.params, call.args, strict=True)},
        output=variable.name if index is None or not nodes else nodes[index][1],
        source=tuple(node for node, _, _ in sources),
        weight_bits=extraction.weight_bits,
        may_vanish=_may_vanish(extraction, variable, call),
    )


def _may_vanish(extraction: _Extraction, variable: Any, call: Any) -> bool:
    """Whether nothing minds the number of dimensions: dense layers flatten what they read."""
    before, after = network_shape(static_shape(call.args[0])), network_shape(static_shape(variable))
    if len(before) == len(after):
        return True
    readers = [value for value in extraction.values.values() if variable in inputs(value)]
    functions = [_composite(extraction.module, reader) for reader in readers]
    return len(after) == 2 and all(
        isinstance(reader, tvm.ir.Var)
        or (function is not None and function.attrs["Composite"] == "qmc.dense")
        for reader, function in zip(readers, functions, strict=True)
    )


def is_layer(module: Any, value: Any) -> bool:
    """Whether ``value`` is a call of a composite that :func:`extract_network` can read."""
    function = _composite(module, value)
    if function is None:
        return False
    context = LayerContext(
        path="",
        name="",
        operator="",
        inputs={parameter: parameter.name for parameter in function.params},
        output="",
        source=(),
        weight_bits={},
        may_vanish=True,
    )
    try:
        read_layer(function, context)
    except UnsupportedOpError:
        return False
    return True


def _composite(module: Any, value: Any) -> Any | None:
    if not (isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.GlobalVar)):
        return None
    function = module[value.op]
    return function if layer_of(function) else None


def _given_ranges(attrs: Mapping[str, Any], names: Mapping[Any, str]) -> Mapping[str, GivenRange]:
    """Quantization that came with the model, of the tensors that are still there."""
    table = attrs.get("qmc.given_ranges", {})
    ranges: dict[str, GivenRange] = {}
    for variable, tensor in names.items():
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
