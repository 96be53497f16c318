"""Integer operators (QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger) become QDQ.

::

    y = QLinearConv(x, s, z, w, sw, zw, sy, zy, b)
        ->  y = Q(Conv(DQ(x, s, z), DQ(w, sw, zw), DQ(b, s * sw)), sy, zy)

Source: the operators' definitions in the ONNX specification. What only moves codes between them
(pools of maxima, reshapes) is done on the numbers they stand for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from qmc.onnx_edit import GraphEditor, attributes_of

_LINEAR = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul"}
_INTEGER = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}
_MOVES = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Identity"}
)
_STANDARD = ("", "ai.onnx")


def lift_integer_operators(path: Path, model: ModelProto) -> None:
    """Replace the integer operators.

    Raises:
        UnsupportedOpError: a scale or zero point is not constant, or the input has none.
    """
    graph = model.graph
    wanted = _LINEAR.keys() | _INTEGER.keys()
    if not any(n.op_type in wanted and n.domain in _STANDARD for n in graph.node):
        return
    opset = next((o.version for o in model.opset_import if o.domain in _STANDARD), 0)
    lifting = _Lifting(GraphEditor(path, graph, opset))
    for node in graph.node:
        lifting.visit(node)
    lifting.editor.finish()
    names = {node.output[0] for node in graph.node if node.output}
    kept = [value for value in graph.value_info if value.name not in names]  # types changed
    del graph.value_info[:]
    graph.value_info.extend(kept)


@dataclass(slots=True)
class _Lifting:
    """The graph, and what is known of its quantized values.

    Attributes:
        known: scale and zero point (input names) of values that hold codes.
        sums: values that were integer sums and now are the numbers they stand for.
        scaled: values whose Mul is part of the weights' scale.
    """

    editor: GraphEditor
    known: dict[str, tuple[str, str]] = field(default_factory=dict)
    sums: set[str] = field(default_factory=set)
    scaled: set[str] = field(default_factory=set)

    def visit(self, node: NodeProto) -> None:
        """Write what ``node`` becomes."""
        kind = node.op_type if node.domain in _STANDARD and node.output else ""
        if kind == "QuantizeLinear" and len(node.input) >= 2:
            self.known[node.output[0]] = (node.input[1], [*node.input, ""][2])
        if kind in _LINEAR:
            self._linear(node)
        elif kind in _INTEGER:
            self._integer(node)
        elif kind in _MOVES and node.input and node.input[0] in self.known:
            self._move(node)
        elif kind == "Cast" and node.input and node.input[0] in self.sums:
            self.editor.add("Identity", node.input[:1], node.output[0], node.name)
        elif kind == "Mul" and set(node.output) & self.scaled:
            source = next(name for name in node.input if name not in self.editor.constants)
            self.editor.add("Identity", [source], node.output[0], node.name)
        else:
            self.editor.nodes.append(node)

    def _real(self, value: str, scale: str, zero: str, axis: int | None = None) -> str:
        """DequantizeLinear of ``value``; returns its output."""
        output = self.editor.name(f"{value}/real")
        inputs = [value, scale, zero] if zero else [value, scale]
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        self.editor.add("DequantizeLinear", inputs, output, **attributes)
        return output

    def _weights(
        self, node: NodeProto, position: int, scale: NDArray[np.float64], zero: str
    ) -> str:
        """Dequantized weights; scale and zero point become vectors of one length."""
        codes = self.editor.array(node.input[position])
        if codes is None:
            raise self.editor.unsupported(node, "its weights must be constant")
        axis = 0 if node.op_type.endswith(("Conv", "ConvInteger")) else codes.ndim - 1
        values = np.zeros((), codes.dtype) if not zero else self.editor.array(zero)
        if values is None:
            raise self.editor.unsupported(node, "the zero point of its weights must be constant")
        count = max(scale.size, values.size)
        if count > 1 and (codes.ndim < 2 or count != codes.shape[axis]):
            raise self.editor.unsupported(node, "allowed: one scale, or one per output channel")
        shape = () if count == 1 else (count,)
        if not {scale.size, values.size} <= {1, count}:
            raise self.editor.unsupported(node, "scales and zero points differ in number")
        scales = np.broadcast_to(scale.reshape(-1), (count,)).reshape(shape).astype(np.float32)
        zeros = np.broadcast_to(values.reshape(-1), (count,)).reshape(shape).astype(codes.dtype)
        names = (
            self.editor.const(f"{node.output[0]}/weight_scale", scales),
            self.editor.const(f"{node.output[0]}/weight_zero", zeros),
        )
        return self._real(node.input[position], *names, axis=axis if count > 1 else None)

    def _linear(self, node: NodeProto) -> None:
        inputs = list(node.input)
        if len(inputs) < 8:
            raise self.editor.unsupported(node, f"has {len(inputs)} inputs; allowed: 8 or 9")
        scale = self.editor.scale(node, 1, "input scale")
        weight_scale = self.editor.scale(node, 4, "weight scale")
        self.editor.scale(node, 6, "output scale")
        if scale.size != 1:
            raise self.editor.unsupported(node, "allowed: one input scale")
        operands = [
            self._real(inputs[0], inputs[1], inputs[2]),
            self._weights(node, 3, weight_scale, inputs[5]),
        ]
        if len(inputs) > 8 and inputs[8]:
            steps = np.squeeze(scale.reshape(-1) * weight_scale.reshape(-1)).astype(np.float32)
            name = self.editor.const(f"{node.output[0]}/bias_scale", steps)
            operands.append(self._real(inputs[8], name, "", 0 if steps.ndim else None))
        result = self.editor.name(f"{node.output[0]}/sum")
        kind = _LINEAR[node.op_type]
        self.editor.add(kind, operands, result, node.name, **attributes_of(node))
        quantized = [result, inputs[6], inputs[7]]
        self.editor.add("QuantizeLinear", quantized, node.output[0])
        self.known[node.output[0]] = (inputs[6], inputs[7])

    def _integer(self, node: NodeProto) -> None:
        """Sums of codes are sums of numbers over both scales; the Mul that follows is the scale."""
        source = node.input[0] if node.input else ""
        if source not in self.known or len(node.input) < 2:
            raise self.editor.unsupported(
                node, "its input must come from a QuantizeLinear of constant scale"
            )
        scale_name, zero_name = self.known[source]
        scale = self.editor.array(scale_name)
        zeros = [self.editor.array(name) if name else None for name in (zero_name, _at(node, 2))]
        known, given = (0 if z is None or not z.size else int(z.flat[0]) for z in zeros)
        if scale is None or scale.size != 1 or not float(scale.flat[0]) > 0 or known != given:
            raise self.editor.unsupported(
                node, "scale and zero point must be those of its input's QuantizeLinear"
            )
        factor, total = self._following_scale(node)
        weight_scale = (np.ones(()) if factor is None else factor) / float(scale.flat[0])
        operands = [
            self._real(source, scale_name, zero_name),
            self._weights(node, 1, np.asarray(weight_scale, np.float64), _at(node, 3)),
        ]
        self.scaled |= {total} if total else set()
        self.sums.add(node.output[0])
        kind = _INTEGER[node.op_type]
        self.editor.add(kind, operands, node.output[0], node.name, **attributes_of(node))

    def _following_scale(self, node: NodeProto) -> tuple[NDArray[np.float64] | None, str]:
        """Factor and output of the Mul by a constant behind the Cast, if that is all that reads."""
        cast = self._only_reader(node.output[0], "Cast")
        mul = None if cast is None else self._only_reader(cast.output[0], "Mul")
        if mul is None:
            return None, ""
        constants = [self.editor.array(name) for name in mul.input]
        factor = next((c for c in constants if c is not None), None)
        if factor is None or not np.isfinite(factor).all() or not (factor > 0).all():
            return None, ""
        trailing = 2 if node.op_type == "ConvInteger" else 0  # axes behind the channels'
        is_per_channel = factor.ndim > trailing and factor.size == factor.shape[-1 - trailing]
        if factor.size > 1 and not is_per_channel:
            return None, ""
        return factor.reshape(-1).astype(np.float64), mul.output[0]

    def _only_reader(self, value: str, kind: str) -> NodeProto | None:
        readers = [n for n in self.editor.graph.node if value in n.input]
        is_only = len(readers) == 1 and self.editor.reads[value] == 1
        return readers[0] if is_only and readers[0].op_type == kind and readers[0].output else None

    def _move(self, node: NodeProto) -> None:
        params = self.known[node.input[0]]
        source = self._real(node.input[0], *params)
        result = self.editor.name(f"{node.output[0]}/moved")
        inputs = [source, *node.input[1:]]
        self.editor.add(node.op_type, inputs, result, node.name, **attributes_of(node))
        quantized = [result, *(name for name in params if name)]
        self.editor.add("QuantizeLinear", quantized, node.output[0])
        self.known[node.output[0]] = params


def _at(node: NodeProto, position: int) -> str:
    return node.input[position] if position < len(node.input) else ""
