"""Pass: annotated layers become calls of integer kernels on packed bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax

from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.packing import pack_rows, storage_bytes
from qmc.passes.annotate_quantization import annotated_scheme
from qmc.passes.extract_network import extract_network
from qmc.passes.grouping import layer_of
from qmc.passes.relax_expr import bindings
from qmc.passes.user_errors import register_user_errors
from qmc.quantize import quantize


@tvm.transform.module_pass(opt_level=0, name="LowerToInteger")
@dataclass(frozen=True)
class LowerToInteger:
    """Replace each annotated composite by a destination-passing call of an integer kernel.

    ::

        y = qmc_conv_stem(x: float32 (1, 3, 8, 8))
        ->  y = call_dps_packed("qmc_stem", (x, weights, multiplier, shift, start, offset),
                                out_ty=Tensor((256,), "uint8"))

    Tensors are flat packed bytes, channels-last, a row per pixel (``qmc.packing``); the network's
    input and output too. Constants follow the data in the order of :func:`layer_constants`.
    Requires: ``AnnotateQuantization``. Ensures: ``main`` holds nothing but such calls, and no
    composite is left.
    Does not fire when: nothing is annotated: that is an error.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM.

        Raises:
            SchemeError: the module is not annotated.
            QuantizationError: a layer's integers would leave their range.
        """
        register_user_errors()
        network = extract_network(module)
        integer = quantize(network, annotated_scheme(module))
        layers = {layer.layer.output: layer for layer in integer.layers}
        main = module["main"]
        tensors = _tensor_names(module, network.input, layers)
        builder = relax.BlockBuilder()
        source = relax.Var(main.params[0].name, _packed_type(integer, network.input))
        values = {network.input: source}
        with builder.function("main", [source], attrs=dict(main.attrs or {})):
            with builder.dataflow():
                for variable, tensor in tensors.items():
                    layer = layers[tensor]
                    call = _call(integer, layer, [values[name] for name in layer.layer.inputs])
                    values[tensor] = builder.emit(call, variable.name)
                result = builder.emit_output(values[network.output])
            builder.emit_func_output(result)
        return builder.get().with_attrs(dict(module.attrs or {}))


def kernel_name(layer: str, position: int) -> str:
    """Global symbol of a layer's kernel, unique by its position."""
    return f"qmc_{position}_{re.sub(r'[^0-9A-Za-z_]', '_', layer)}"


def layer_constants(layer: IntegerLayer) -> Iterator[tuple[str, Any]]:
    """Name and array of every constant a kernel reads, in argument order."""
    if layer.weights is not None and layer.weight_bits is not None:
        codes = layer.stored_weights()
        rows = np.moveaxis(codes, 1, -1).reshape(len(codes), -1)  # K, R, S, C
        yield "weights", pack_rows(rows, layer.weight_bits)
    if layer.requant is not None:
        for name in ("multiplier", "shift", "start", "offset"):
            yield name, np.asarray(getattr(layer.requant, name), dtype=np.int32)
    if layer.rescales:
        values = [[r.multiplier, r.shift, r.offset] for r in layer.rescales]
        yield "rescales", np.array(values, dtype=np.int64)
    if layer.counts:
        yield "counts", np.array(layer.counts, dtype=np.int32)
    if layer.table is not None:
        yield "table", np.asarray(layer.table)
    yield "limits", np.array([layer.low, layer.high], dtype=np.int32)


def _tensor_names(module: Any, source: str, layers: dict[str, IntegerLayer]) -> dict[Any, str]:
    """Output tensor of each layer by its variable in ``main``, in execution order."""
    by_layer = {layer.layer.name: name for name, layer in layers.items()}
    found = {}
    for variable, value in bindings(module["main"]).items():
        if isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.GlobalVar):
            name = by_layer.get(layer_of(module[value.op]))
            if name is not None:
                found[variable] = name
    return found


def _packed_type(network: IntegerNetwork, tensor: str) -> Any:
    shape, bits = network.tensors[tensor].shape, network.quantization[tensor].bits
    return relax.TensorType((storage_bytes(shape, bits),), "uint8")


def _call(network: IntegerNetwork, layer: IntegerLayer, inputs: list[Any]) -> Any:
    constants = [relax.const(array) for _, array in layer_constants(layer)]
    position = network.layers.index(layer)
    return relax.call_dps_packed(
        kernel_name(layer.layer.name, position),
        [*inputs, *constants],
        out_ty=_packed_type(network, layer.layer.output),
    )
