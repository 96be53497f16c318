"""Integer networks of PLiNIO for MATCH: the widths are attributes of standard operators.

Every value is a whole number and stands for itself (scale 1, zero point 0)::

    y = Clip(Floor(Div(Add(Mul(Conv(x, w), m), b), 2^s)), 0, 2^bits - 1)
        ->  y = Q(Conv(DQ(x), DQ(w, m / 2^s), DQ(b / m, m / 2^s)), 1, 0)

The integers are the same under ``--rounding floor-shift``. Source: eml-eda/plinio, MATCH backend,
``annotator.py`` (attributes ``weight_bits``, ``bias_bits``, ``mult_bits``, ``add_bits``,
``out_bits``) and ``nn/conv2d.py`` (the arithmetic); DORY's files are alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from qmc.onnx_edit import GraphEditor, attributes_of, set_bits

_WIDTHS = frozenset({"weight_bits", "bias_bits", "mult_bits", "add_bits", "out_bits"})
_LINEAR = frozenset({"Conv", "Gemm", "MatMul"})
_STANDARD = ("", "ai.onnx")
#: Scales of a DequantizeLinear may differ by channel since this opset.
_OPSET = 13
#: Operators in such files that mean the same in it as in opset 7 and all between.
_UNCHANGED = _LINEAR | frozenset(
    "Add AveragePool Concat Constant Div Flatten Floor GlobalAveragePool MaxPool Mul Relu Reshape "
    "Transpose".split()
)
#: The exporter takes the quantizer of the input away; its codes have this width.
_INPUT_BITS = 8


def lift_match(path: Path, model: ModelProto) -> None:
    """Replace widths in attributes by QuantizeLinear and DequantizeLinear.

    Raises:
        UnsupportedOpError: weights are no integers of their width, or a clip is no range of one.
    """
    graph = model.graph
    annotated = [n for n in graph.node if n.domain in _STANDARD and _WIDTHS & _names(n)]
    if not any({"weight_bits", "out_bits"} & _names(node) for node in annotated):
        return
    opset = next((o.version for o in model.opset_import if o.domain in _STANDARD), 0)
    lifting = _Lifting(GraphEditor(path, graph, opset))
    lifting.quantize_inputs()
    for node in graph.node:
        lifting.visit(node)
    if opset < _OPSET:
        _raise_opset(lifting.editor, model)
    lifting.editor.finish()


def _raise_opset(editor: GraphEditor, model: ModelProto) -> None:
    """Declare the opset of what was written, where the other nodes mean the same in it."""
    for node in editor.nodes:
        if node.op_type not in _UNCHANGED | {"QuantizeLinear", "DequantizeLinear"}:
            allowed = f"opset {_OPSET} or newer beside widths in attributes"
            raise editor.unsupported(node, f"of opset {editor.opset}; allowed: {allowed}")
    for entry in model.opset_import:
        if entry.domain in _STANDARD:
            entry.version = _OPSET


def _names(node: NodeProto) -> set[str]:
    return {attribute.name for attribute in node.attribute}


@dataclass(frozen=True, slots=True, eq=False)
class _Requantization:
    """What follows the sums of a layer up to its Clip: (sum * multiplier + addend) / divisor."""

    multiplier: NDArray[np.float64]
    addend: NDArray[np.float64]
    divisor: float
    output: str


@dataclass(slots=True)
class _Lifting:
    """The graph, what replaces its inputs, and the nodes that became part of another."""

    editor: GraphEditor
    codes: dict[str, str] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)

    def quantize_inputs(self) -> None:
        """The network's inputs are codes."""
        for value in self.editor.graph.input:
            if value.name not in self.editor.constants:
                self.codes[value.name] = self.editor.name(f"{value.name}/codes")
                self.editor.pair(value.name, self.codes[value.name], 1.0, 0, _INPUT_BITS, False)

    def visit(self, node: NodeProto) -> None:
        """Write what ``node`` becomes."""
        if node.output and node.output[0] in self.done:
            return
        widths = {k: v for k, v in attributes_of(node).items() if k in _WIDTHS}
        kept = [attribute for attribute in node.attribute if attribute.name not in _WIDTHS]
        del node.attribute[:]
        node.attribute.extend(kept)
        for position, name in enumerate(node.input):
            node.input[position] = self.codes.get(name, name)
        if node.op_type in _LINEAR and "weight_bits" in widths:
            self._linear(node, self._width(node, widths["weight_bits"]))
        elif node.op_type == "Clip" and "out_bits" in widths:
            self._clip(node, self._width(node, widths["out_bits"]))
        else:
            self.editor.nodes.append(node)

    def _width(self, node: NodeProto, bits: object) -> int:
        if not isinstance(bits, int) or not 1 <= bits <= 8:
            raise self.editor.unsupported(node, f"width {bits}; allowed: 1 to 8 bits")
        return bits

    def _linear(self, node: NodeProto, bits: int) -> None:
        """Weights and bias behind DequantizeLinear, the multiplier in their scales."""
        edit = self.editor
        weights = edit.operand(node, 1, "weights")
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if (weights != np.rint(weights)).any() or weights.min() < low or weights.max() > high:
            rule = f"weights are not integers of {bits} bits; allowed: {low} to {high}"
            raise edit.unsupported(node, rule)
        is_transposed = node.op_type == "Gemm" and attributes_of(node).get("transB")
        axis = 0 if node.op_type == "Conv" or is_transposed else weights.ndim - 1
        channels = weights.shape[axis]
        after = self._requantization(node, channels)
        bias = np.zeros(channels)
        if len(node.input) > 2 and node.input[2]:
            bias = edit.operand(node, 2, "bias").reshape(-1)
        scales = np.ones(channels)
        if after is not None:
            scales = after.multiplier / after.divisor
            bias = bias + after.addend / after.multiplier
        scale = edit.const(f"{node.output[0]}/weight_scale", scales.astype(np.float32))
        source = edit.const(f"{node.output[0]}/weight_codes", weights.astype(np.int8))
        inputs = [node.input[0], self._dequantized(source, scale, axis, bits)]
        if bias.any():
            inputs.append(self._bias(node, bias, scales, scale))
        output = node.output[0] if after is None else after.output
        edit.add(node.op_type, inputs, output, node.name, **attributes_of(node))

    def _dequantized(self, source: str, scale: str, axis: int, bits: int) -> str:
        output = self.editor.name(f"{source}/real")
        added = self.editor.add("DequantizeLinear", [source, scale], output, axis=axis)
        set_bits(added, bits)
        return output

    def _bias(
        self, node: NodeProto, bias: NDArray[np.float64], scales: NDArray[np.float64], scale: str
    ) -> str:
        """The name of the bias; as int32 codes where it is whole steps of the sums."""
        edit, wanted = self.editor, f"{node.output[0]}/bias"
        if (bias != np.rint(bias)).any() or np.abs(bias).max() >= 2**31:
            return edit.const(wanted, (bias * scales).astype(np.float32))
        source, output = edit.const(wanted, bias.astype(np.int32)), edit.name(f"{wanted}/real")
        edit.add("DequantizeLinear", [source, scale], output, axis=0)
        return output

    def _requantization(self, node: NodeProto, channels: int) -> _Requantization | None:
        """Mul, Add and Div by constants behind the sums of ``node``, if they are there."""
        edit, found = self.editor, dict[str, NDArray[np.float64]]()
        value, passed = node.output[0], list[str]()
        for kind in ("Mul", "Add", "Div"):
            reader = self._only_reader(value)
            if reader is None or reader.op_type != kind:
                return None
            constant = next((n for n in reader.input if edit.array(n) is not None), None)
            if constant is None:
                return None
            operand = edit.operand(reader, list(reader.input).index(constant), "constant")
            if operand.size not in (1, channels):
                return None
            found[kind] = np.broadcast_to(operand.reshape(-1), channels)
            passed.append(value := reader.output[0])
        if (found["Mul"] <= 0).any() or (found["Div"] <= 0).any():
            return None
        self.done.update(passed)
        return _Requantization(found["Mul"], found["Add"], float(found["Div"][0]), value)

    def _only_reader(self, value: str) -> NodeProto | None:
        readers = [node for node in self.editor.graph.node if value in node.input]
        return readers[0] if len(readers) == 1 == self.editor.reads[value] else None

    def _clip(self, node: NodeProto, bits: int) -> None:
        """A Clip to all codes of a width is where an activation is quantized."""
        edit, given = self.editor, attributes_of(node)
        limits = [given.get("min"), given.get("max")]
        if len(node.input) > 2:
            limits = [edit.whole(node, position, "limit") for position in (1, 2)]
        if limits != [0, (1 << bits) - 1]:
            rule = f"clipped to {limits}; allowed with out_bits {bits}: 0 to {(1 << bits) - 1}"
            raise edit.unsupported(node, rule)
        source = node.input[0]
        floor = next(
            (n for n in edit.nodes if n.op_type == "Floor" and n.output[0] == source), None
        )
        if floor is not None and edit.reads[source] == 1:
            edit.nodes.remove(floor)
            source = floor.input[0]
        edit.pair(source, node.output[0], 1.0, 0, bits, False)
