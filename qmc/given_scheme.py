"""What float32 graphs do not tell of models that arrive quantized: bias codes, exact scales.

Biases are int32 codes behind a DequantizeLinear; as float32 numbers they lose codes above 2^24.
Files that qmc exported carry their scheme in the metadata, with scales in double precision; it is
believed tensor by tensor, where it rounds to what the graph says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qmc.errors import SchemeError
from qmc.network import GivenBias, GivenRange, GivenWeights, Network, Parameters
from qmc.scheme import Scheme
from qmc.scheme_io import scheme_from_data
from qmc.yaml_input import parse_yaml

#: Key of the scheme in the metadata of exported files.
SCHEME_KEY = "qmc.scheme"
_BIASED = {"Conv": 2, "Gemm": 2}
_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True, slots=True, eq=False)
class GivenScheme:
    """What a checked model says beside its graph.

    Attributes:
        biases: codes and scales by the name of the node that adds them.
        weights: name of the weights by the node that reads them.
        values: names of all values and constants.
        text: the scheme in the metadata; empty without one.
    """

    biases: Mapping[str, GivenBias]
    weights: Mapping[str, str]
    values: frozenset[str]
    text: str


def read_given(model: ModelProto) -> GivenScheme:
    """Collect bias codes and metadata of a checked model whose constants are not folded yet."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    writers = {node.output[0]: node for node in graph.node if node.output}
    biases: dict[str, GivenBias] = {}
    for node in graph.node:
        position = _BIASED.get(node.op_type)
        if position is None or len(node.input) <= position:
            continue
        source = writers.get(node.input[position])
        if source is not None and source.op_type == "DequantizeLinear":
            found = _bias(source, constants)
            if found is not None:
                biases[node.name] = found
    text = next((p.value for p in model.metadata_props if p.key == SCHEME_KEY), "")
    weights = {n.name: n.input[1] for n in graph.node if n.op_type in _WEIGHTED and n.input[1:]}
    values = {name for node in graph.node for name in (*node.input, *node.output)}
    return GivenScheme(biases, weights, frozenset(values), text)


def _bias(node: Any, constants: Mapping[str, TensorProto]) -> GivenBias | None:
    tensors = [constants[name] for name in node.input[:3] if name in constants]
    if not 2 <= len(tensors) == len(node.input) or any(tensor.dims[1:] for tensor in tensors):
        return None
    codes, scales, *zeros = (numpy_helper.to_array(tensor) for tensor in tensors)
    if codes.dtype != np.int32 or codes.ndim != 1 or any(zero.any() for zero in zeros):
        return None
    if scales.size not in (1, codes.size):
        return None
    steps = np.broadcast_to(scales.reshape(-1).astype(np.float64), codes.shape)
    return GivenBias(codes.astype(np.int64), np.ascontiguousarray(steps))


def refine(network: Network, given: GivenScheme, path: Path) -> Network:
    """Put bias codes and scales in double precision into ``network`` where they agree with it."""
    scheme = _scheme(given.text, network, path)
    ranges = {name: _range(entry, scheme, name) for name, entry in network.given_ranges.items()}
    parameters = {
        layer.name: _parameters(network.parameters[layer.name], given, scheme, layer)
        for layer in network.layers
        if layer.name in network.parameters
    }
    return replace(network, given_ranges=ranges, parameters=parameters)


def _scheme(text: str, network: Network, path: Path) -> Scheme | None:
    if not text:
        return None
    try:
        return scheme_from_data(parse_yaml(text, path, SchemeError), path, network)
    except SchemeError:  # of a graph that was changed since
        return None


def _range(entry: GivenRange, scheme: Scheme | None, name: str) -> GivenRange:
    fine = None if scheme is None else scheme.tensors.get(name)
    if fine is None or (fine.bits, fine.zero_point) != (entry.bits, entry.zero_point):
        return entry
    is_same = np.float32(fine.scale) == np.float32(entry.scale)
    return replace(entry, scale=fine.scale) if is_same else entry


def _parameters(
    own: Parameters, given: GivenScheme, scheme: Scheme | None, layer: Any
) -> Parameters:
    if own.given is None:
        return own
    weights = _weights(own.given, scheme, layer.name)
    bias = next((given.biases[node] for node in layer.source if node in given.biases), None)
    if bias is not None and not _is_bias(bias, own.bias):
        bias = None
    return replace(own, given=replace(weights, bias=bias))


def _weights(given: GivenWeights, scheme: Scheme | None, name: str) -> GivenWeights:
    fine = None if scheme is None else scheme.weights.get(name)
    if fine is None or fine.bits != given.bits:
        return given
    scales = np.array(fine.scales, dtype=np.float64)
    is_same = np.array_equal(scales.astype(np.float32), given.scales.astype(np.float32))
    return replace(given, scales=scales) if is_same else given


def _is_bias(bias: GivenBias, real: NDArray[np.float32]) -> bool:
    """Whether nothing was folded into the bias."""
    return bias.codes.shape == real.shape and np.allclose(
        bias.codes * bias.scales, real, rtol=1e-6, atol=1e-30
    )


def set_scheme(model: ModelProto, text: str) -> None:
    """Put a scheme into the metadata of ``model``."""
    helper.set_model_props(model, {SCHEME_KEY: text})
