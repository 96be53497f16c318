"""Trained parameters back into the model they came from: the same nodes, other constants.

A layer's float parameters hold what was folded into it, batch normalizations above all. The file
keeps those nodes, so its weights are the trained ones divided by the factor that the folding put on
each output channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from qmc.errors import ModelError
from qmc.layer import Layer
from qmc.network import Network, Parameters
from qmc.onnx_checks import check_model, parse_model
from qmc.onnx_edit import attributes_of

_WEIGHTED = ("Conv", "Gemm", "MatMul")
#: How well the read-back parameters have to agree: float32, and a division and a product.
_RELATIVE = 1e-4


def write_back(path: Path, network: Network, trained: Mapping[str, Parameters]) -> ModelProto:
    """The model at ``path`` with trained parameters.

    Args:
        path: the file that ``network`` was read from.
        network: its layers and parameters, as read.
        trained: by layer name, of every layer with weights.

    Raises:
        ModelError: weights of a layer are no constants of the file.
    """
    file = _File(path, check_model(path, parse_model(path)))
    for layer in network.layers:
        if layer.has_weights:
            file.replace(layer, network.parameters[layer.name], trained[layer.name])
    file.drop_unread()
    return file.model


def check_written(path: Path, found: Network, trained: Mapping[str, Parameters]) -> None:
    """Compare a network that was read back with what was written.

    Raises:
        ModelError: a layer computes something else: its model cannot be written back.
    """
    for name, wanted in trained.items():
        own = found.parameters.get(name)
        for mine, theirs in () if own is None else _pairs(own, wanted):
            limit = _RELATIVE * max(float(np.abs(theirs).max()), 1e-6)
            if mine.shape != theirs.shape or np.abs(mine - theirs).max() > limit:
                own = None
        if own is None:
            raise ModelError(path, f"layer '{name}': its parameters cannot be put back into it")


def _pairs(own: Parameters, wanted: Parameters) -> tuple[tuple[Any, Any], ...]:
    return (own.weights, wanted.weights), (own.bias, wanted.bias)


@dataclass(slots=True)
class _File:
    path: Path
    model: ModelProto

    def replace(self, layer: Layer, old: Parameters, new: Parameters) -> None:
        """Put one layer's parameters back."""
        node = self._node(layer)
        constant = self._constant(node, node.input[1])
        turned = constant.T if self._is_turned(node) else constant
        own = turned.reshape(old.weights.shape).astype(np.float64)
        factors = _factors(old.weights, own)
        weights = new.weights / factors.reshape(-1, 1, 1, 1)
        shaped = weights.reshape(turned.shape)
        self._set(node, 1, shaped.T if self._is_turned(node) else shaped)
        self._add_to_bias(node, layer, (new.bias.astype(np.float64) - old.bias) / factors)

    def _node(self, layer: Layer) -> NodeProto:
        nodes = [n for n in self.model.graph.node if n.name in layer.source]
        found: list[NodeProto] = [n for n in nodes if n.op_type in _WEIGHTED]
        if len(found) != 1:
            raise ModelError(
                self.path, f"layer '{layer.name}': found {len(found)} nodes with weights"
            )
        return found[0]

    def _is_turned(self, node: NodeProto) -> bool:
        return node.op_type != "Conv" and not attributes_of(node).get("transB", 0)

    def _constant(self, node: NodeProto, name: str) -> NDArray[Any]:
        for tensor in self.model.graph.initializer:
            if tensor.name == name and tensor.data_type == TensorProto.FLOAT:
                return numpy_helper.to_array(tensor)
        raise ModelError(self.path, f"'{name}' is no float32 constant of the file", node.name)

    def _add_to_bias(self, node: NodeProto, layer: Layer, change: NDArray[np.float64]) -> None:
        if node.op_type != "MatMul":
            if len(node.input) > 2 and node.input[2]:
                change = self._constant(node, node.input[2]).reshape(-1) + change
            self._set(node, 2, change)
            return
        names = {tensor.name for tensor in self.model.graph.initializer}
        sums = [n for n in self.model.graph.node if n.op_type == "Add" and n.name in layer.source]
        for one in sums:
            place = next((i for i, name in enumerate(one.input) if name in names), None)
            if place is not None:
                own = self._constant(one, one.input[place])
                self._set(one, place, own.reshape(-1) + change)
                return
        if np.abs(change).max() > 0:
            raise ModelError(self.path, "has no bias that could be trained", node.name)

    def _set(self, node: NodeProto, position: int, array: NDArray[Any]) -> None:
        """Give an input of a node a constant of its own; others may read the old one."""
        taken = {tensor.name for tensor in self.model.graph.initializer}
        taken |= {value for one in self.model.graph.node for value in (*one.input, *one.output)}
        key = ("input", "weights", "bias")[position]
        name, copies = f"{node.name}/{key}", 1
        while name in taken:
            copies += 1
            name = f"{node.name}/{key}_{copies}"
        while len(node.input) <= position:
            node.input.append("")
        node.input[position] = name
        values = np.ascontiguousarray(array, dtype=np.float32)
        self.model.graph.initializer.append(numpy_helper.from_array(values, name))

    def drop_unread(self) -> None:
        """Remove constants that nobody reads now."""
        graph = self.model.graph
        read = {name for node in graph.node for name in node.input}
        gone = {tensor.name for tensor in graph.initializer} - read
        kept = [tensor for tensor in graph.initializer if tensor.name in read]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        inputs = [value for value in graph.input if value.name not in gone]
        del graph.input[:]
        graph.input.extend(inputs)


def _factors(folded: NDArray[np.float32], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """By output channel what the folding multiplied the weights with; 1 where all are zero."""
    mine, theirs = own.reshape(len(own), -1), folded.reshape(len(own), -1).astype(np.float64)
    squares, products = (mine * mine).sum(axis=1), (mine * theirs).sum(axis=1)
    usable = (squares > 0) & (products != 0)
    return np.where(usable, products / np.where(usable, squares, 1.0), 1.0)
