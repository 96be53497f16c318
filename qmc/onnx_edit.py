"""Editing an ONNX graph that is not checked yet: constants, readers, new nodes and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper, numpy_helper

from qmc.errors import UnsupportedOpError
from qmc.onnx_checks import check_tensor

#: Key of a node's metadata: the width of a QuantizeLinear or DequantizeLinear that its type hides.
BITS_KEY = "qmc.bits"
_LARGEST_WIDTH = 16


def set_bits(node: NodeProto, bits: int) -> NodeProto:
    """Note the width of the codes that ``node`` makes or reads."""
    kept = [entry for entry in node.metadata_props if entry.key != BITS_KEY]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)
    node.metadata_props.add(key=BITS_KEY, value=str(bits))
    return node


def bits_of(node: NodeProto) -> int | None:
    """The width that :func:`set_bits` noted; None without one."""
    for entry in node.metadata_props:
        if entry.key == BITS_KEY and entry.value.isdecimal() and len(entry.value) <= 2:
            bits = int(entry.value)
            return bits if 1 <= bits <= _LARGEST_WIDTH else None
    return None


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node; graphs and tensors are left out."""
    plain = (
        AttributeProto.INT,
        AttributeProto.INTS,
        AttributeProto.FLOAT,
        AttributeProto.FLOATS,
        AttributeProto.STRING,
    )
    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type in plain}


@dataclass(slots=True)
class GraphEditor:
    """A graph while its nodes are replaced, in order.

    Attributes:
        path: the model's file, for messages.
        graph: changed in place.
        opset: version of the standard operators.
        constants: initializers and the values of Constant nodes, by name.
        writers: nodes by the values they write, as they were at first.
        reads: how often each value is read; the graph's outputs count.
        nodes: those written so far; :meth:`finish` puts them into the graph.
    """

    path: Path
    graph: GraphProto
    opset: int
    constants: dict[str, TensorProto] = field(default_factory=dict)
    writers: dict[str, NodeProto] = field(default_factory=dict)
    reads: Counter[str] = field(default_factory=Counter)
    nodes: list[NodeProto] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        for node in self.graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value" and node.output:
                    self.constants[node.output[0]] = attribute.t
            self.reads.update(node.input)
            self._taken.update((*node.input, *node.output))
            self.writers.update(dict.fromkeys(node.output, node))
        self.reads.update(value.name for value in self.graph.output)
        self._taken.update(self.constants)

    def unsupported(self, node: NodeProto, rule: str) -> UnsupportedOpError:
        """The error that names the node, its operator and the broken rule."""
        return UnsupportedOpError(self.path, node.name or node.op_type, node.op_type, rule)

    def name(self, wanted: str) -> str:
        """A value name that nothing else has."""
        name, copies = wanted, 1
        while name in self._taken:
            copies += 1
            name = f"{wanted}_{copies}"
        self._taken.add(name)
        return name

    def array(self, name: str) -> NDArray[Any] | None:
        """The value of a constant, checked before it is decoded; None if it is no constant."""
        tensor = self.constants.get(name)
        if tensor is None:
            return None
        check_tensor(self.path, tensor)
        return numpy_helper.to_array(tensor).reshape(tuple(tensor.dims))

    def operand(self, node: NodeProto, position: int, what: str) -> NDArray[np.float64]:
        """A constant input as numbers.

        Raises:
            UnsupportedOpError: it is missing, no constant, or not finite.
        """
        name = node.input[position] if position < len(node.input) else ""
        value = self.array(name)
        if value is None:
            raise self.unsupported(node, f"its {what} must be constant")
        real = np.asarray(value, dtype=np.float64)
        if not np.isfinite(real).all():
            raise self.unsupported(node, f"its {what} is not finite")
        return real

    def scale(self, node: NodeProto, position: int, what: str = "scale") -> NDArray[np.float64]:
        """A constant input of positive numbers.

        Raises:
            UnsupportedOpError: it is missing, no constant, or not positive.
        """
        value = self.operand(node, position, what)
        if not value.size or not (value > 0).all():
            raise self.unsupported(node, f"its {what} must be positive")
        return value

    def whole(self, node: NodeProto, position: int, what: str) -> int:
        """A constant input that is one whole number.

        Raises:
            UnsupportedOpError: it is anything else.
        """
        value = self.operand(node, position, what)
        if value.size != 1 or float(value.item()) != round(float(value.item())):
            found = value.reshape(-1)[:3].tolist()
            raise self.unsupported(node, f"{what} {found}; allowed: one whole number")
        return int(value.item())

    def const(self, wanted: str, array: Any, kind: int | None = None) -> str:
        """Add an initializer; ``kind`` is a sub-byte type."""
        if kind is None:
            tensor = numpy_helper.from_array(np.asarray(array))
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind)
            tensor = numpy_helper.from_array(np.asarray(array).astype(dtype))
        tensor.name = self.name(wanted)
        self.constants[tensor.name] = tensor
        self.graph.initializer.append(tensor)
        return tensor.name

    def add(
        self, op: str, inputs: Sequence[str], output: str, name: str = "", **attributes: Any
    ) -> NodeProto:
        """Write a node."""
        node = helper.make_node(op, list(inputs), [output], name or None, **attributes)
        self.nodes.append(node)
        return node

    def pair(
        self, source: str, output: str, scale: float, zero: int, bits: int, signed: bool
    ) -> None:
        """Write QuantizeLinear and DequantizeLinear of an activation of any width to 16 bits."""
        small, wide = (np.int8, np.int16) if signed else (np.uint8, np.uint16)
        kind = small if bits <= 8 else wide
        constants = [
            self.const(f"{output}/scale", np.float32(scale)),
            self.const(f"{output}/zero_point", np.array(zero, kind)),
        ]
        codes = self.name(f"{output}/quantized")
        set_bits(self.add("QuantizeLinear", [source, *constants], codes), bits)
        set_bits(self.add("DequantizeLinear", [codes, *constants], output), bits)

    def finish(self) -> None:
        """Put the nodes into the graph, and drop constants that nobody reads any more."""
        read = {name for node in self.nodes for name in node.input}
        read |= {value.name for value in self.graph.output}
        copies = [NodeProto.FromString(node.SerializeToString()) for node in self.nodes]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        kept = [tensor for tensor in self.graph.initializer if tensor.name in read]
        if len(kept) < len(self.graph.initializer):
            tensors = [TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
            del self.graph.initializer[:]
            self.graph.initializer.extend(tensors)
