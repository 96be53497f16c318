"""QONNX: ``Quant``, ``IntQuant``, ``BipolarQuant`` and ``Trunc`` become QDQ pairs of any width.

Source: QONNX 1.0, custom operators of the domain ``qonnx.custom_op.general``, and the domains of
its ancestors. A real number x means the code ``round(x / scale + zero point)``, clipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from qmc.onnx_edit import GraphEditor, attributes_of, set_bits

DOMAINS = frozenset(
    {"qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas", "finn.custom_op"}
)
_OPERATORS = frozenset({"Quant", "IntQuant", "BipolarQuant", "Trunc"})
#: Activations above this need types that ONNX has since this opset.
_WIDE_OPSET = 21

Reals = NDArray[np.float64]


def _half_up(x: Reals) -> Reals:
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


def _half_down(x: Reals) -> Reals:
    return np.sign(x) * np.ceil(np.abs(x) - 0.5)


def _up(x: Reals) -> Reals:
    return np.sign(x) * np.ceil(np.abs(x))


_ROUNDING: dict[str, Callable[[Reals], Reals]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": _up,
    "DOWN": np.trunc,
    "HALF_UP": _half_up,
    "HALF_DOWN": _half_down,
}
#: Modes that round to the nearest code; they differ on ties only, which activations do not have.
_NEAREST = frozenset({"ROUND", "HALF_EVEN", "HALF_UP", "HALF_DOWN"})


@dataclass(frozen=True, slots=True)
class _Quant:
    """A quantizer: codes from ``low`` to ``high``."""

    scale: Reals
    zero: Reals
    bits: int
    signed: bool
    narrow: bool
    mode: str

    @property
    def low(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest code."""
        return (
            (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1 - int(self.narrow)
        )


def lift_qonnx(path: Path, model: ModelProto) -> None:
    """Replace the operators of QONNX.

    Raises:
        UnsupportedOpError: a quantizer that the integer contract has no form for.
    """
    graph = model.graph
    if not any(node.domain in DOMAINS for node in graph.node):
        return
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    editor = GraphEditor(path, graph, opset)
    weights = _weight_values(graph.node)
    for node in graph.node:
        if node.domain not in DOMAINS or node.op_type not in _OPERATORS:
            editor.nodes.append(node)
            continue
        if len(node.input) < 2 or not node.output:
            raise editor.unsupported(node, "inputs or outputs are missing")
        if node.op_type == "Trunc":
            _truncate(editor, node)
        elif node.input[0] in editor.constants:
            _constant(editor, node, node.output[0] in weights)
        else:
            _activation(editor, node, _read(editor, node), node.input[0])
    editor.finish()
    kept = [(o.domain, o.version) for o in model.opset_import if o.domain not in DOMAINS]
    del model.opset_import[:]
    for domain, version in kept:
        model.opset_import.add(domain=domain, version=version)


def _weight_values(nodes: Sequence[NodeProto]) -> set[str]:
    """Values that become weights of a layer, directly or through a transpose."""
    weights: set[str] = set()
    for node in reversed(nodes):
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weights.update(node.input[1:2])
        elif node.op_type in ("Transpose", "Identity") and set(node.output) & weights:
            weights.update(node.input[:1])
    return weights


def _read(editor: GraphEditor, node: NodeProto) -> _Quant:
    attributes = attributes_of(node)
    mode = attributes.get("rounding_mode", b"ROUND")
    mode = mode.decode(errors="replace").upper() if isinstance(mode, bytes) else str(mode)
    if mode not in _ROUNDING:
        raise editor.unsupported(node, f"rounding_mode {mode}; allowed: {', '.join(_ROUNDING)}")
    scale = editor.scale(node, 1)
    if node.op_type == "BipolarQuant":
        return _Quant(scale, np.zeros(()), 1, True, False, "ROUND")
    bits = editor.whole(node, 3, "bit width")
    if not 1 <= bits <= 32:
        raise editor.unsupported(node, f"bit width {bits}; allowed: 1 to 32")
    zero = editor.operand(node, 2, "zero point")
    if not np.array_equal(zero, np.rint(zero)):
        raise editor.unsupported(node, "its zero point must be whole")
    signed, narrow = (bool(attributes.get(key, default)) for key, default in _FLAGS.items())
    return _Quant(scale, zero, bits, signed, narrow, mode)


_FLAGS = {"signed": 1, "narrow": 0}


def _codes(values: Reals, quant: _Quant) -> Reals:
    """Codes of a constant, as QONNX computes them: clipped, then rounded."""
    real = (values.astype(np.float32) / quant.scale.astype(np.float32)).astype(np.float64)
    if quant.bits == 1 and quant.signed:
        return np.where(real + quant.zero >= 0, 1.0, -1.0)
    return _ROUNDING[quant.mode](np.clip(real + quant.zero, quant.low, quant.high))


def _constant(editor: GraphEditor, node: NodeProto, is_weight: bool) -> None:
    """Weights keep their codes; any other constant becomes the numbers it stands for."""
    quant, output = _read(editor, node), node.output[0]
    values = editor.operand(node, 0, "input")
    try:
        codes = _codes(values, quant)
        reals = (codes - quant.zero) * quant.scale
    except ValueError:
        reals = np.zeros(0)
    if reals.shape != values.shape:
        raise editor.unsupported(node, "its scale or zero point does not fit its input")
    if not is_weight:
        name = editor.const(f"{output}/value", reals.astype(np.float32))
        editor.add("Identity", [name], output, node.name)
        return
    shifted = codes - quant.zero
    if not -128 <= shifted.min(initial=0) <= shifted.max(initial=0) <= 127:
        ends = f"{shifted.min():.0f}..{shifted.max():.0f}"
        raise editor.unsupported(node, f"weights minus zero point reach {ends}; allowed: -128..127")
    axis = _axis(editor, node, quant.scale, values.ndim)
    stored = editor.const(f"{output}/codes", shifted.astype(np.int8).reshape(values.shape))
    scale = editor.const(f"{output}/scale", np.squeeze(quant.scale.reshape(-1)).astype(np.float32))
    attributes = {} if axis is None else {"axis": axis}
    made = editor.add("DequantizeLinear", [stored, scale], output, node.name, **attributes)
    set_bits(made, min(max(quant.bits, 2), 8))


def _axis(editor: GraphEditor, node: NodeProto, scale: Reals, rank: int) -> int | None:
    """The axis along which a scale varies; None for one number."""
    if scale.size == 1:
        return None
    axes = [i - scale.ndim + rank for i, extent in enumerate(scale.shape) if extent > 1]
    if len(axes) != 1 or axes[0] < 0:
        raise editor.unsupported(
            node, f"scale of shape {list(scale.shape)}; allowed: one number, or one per channel"
        )
    return axes[0]


def _activation(editor: GraphEditor, node: NodeProto, quant: _Quant, source: str) -> None:
    output = node.output[0]
    if quant.bits == 1 and quant.signed:
        raise editor.unsupported(node, "bipolar activations have no zero; allowed: 1 to 16 bits")
    if quant.scale.size != 1 or quant.zero.size != 1:
        raise editor.unsupported(node, "activations have one scale and zero point per tensor")
    limit = 16 if editor.opset >= _WIDE_OPSET else 8
    if quant.bits > limit:
        raise editor.unsupported(node, f"bit width {quant.bits}; allowed: 1 to {limit}")
    if quant.mode not in _NEAREST:
        rule = f"rounding_mode {quant.mode}; allowed: {', '.join(sorted(_NEAREST))}"
        raise editor.unsupported(node, rule)
    scale, zero = float(np.float32(quant.scale.item())), int(quant.zero.item())
    widest = _Quant(quant.scale, quant.zero, quant.bits, quant.signed, False, quant.mode)
    if not widest.low <= zero <= widest.high:
        rule = f"zero point {zero}; allowed: {widest.low}..{widest.high}"
        raise editor.unsupported(node, rule)
    if quant.narrow:
        source = _narrowed(editor, source, output, quant, scale, zero)
    editor.pair(source, output, scale, zero, quant.bits, quant.signed)


def _narrowed(
    editor: GraphEditor, source: str, output: str, quant: _Quant, scale: float, zero: int
) -> str:
    """Clip the real numbers: a pair's range is that of its width."""
    ends: list[str] = [source, "", ""]
    position, code = (1, quant.low) if quant.signed else (2, quant.high)
    ends[position] = editor.const(f"{output}/limit", np.float32((code - zero) * scale))
    clipped = editor.name(f"{output}/narrow")
    editor.add("Clip", ends if ends[2] else ends[:2], clipped)
    return clipped


def _truncate(editor: GraphEditor, node: NodeProto) -> None:
    """Trunc drops low bits: a floor (or rounding) to a grid that is 2^t times as coarse.

    Version 1 keeps the scale and so divides the values by 2^t; version 2 has a scale of its own.
    A floor is a rounding of numbers moved down by half a step: all lie on the fine grid, so that a
    move of half a step less half a fine one leaves no ties.
    """
    attributes = attributes_of(node)
    mode = attributes.get("rounding_mode", b"FLOOR").decode(errors="replace").upper()
    if mode not in ("FLOOR", "ROUND", "HALF_EVEN"):
        raise editor.unsupported(node, f"rounding_mode {mode}; allowed: FLOOR, ROUND")
    scale = editor.scale(node, 1)
    if scale.size != 1 or editor.operand(node, 2, "zero point").any():
        raise editor.unsupported(node, "allowed: one scale, zero point 0")
    newer = len(node.input) >= 6
    before = editor.whole(node, 3, "input bit width")
    after = editor.whole(node, 5 if newer else 4, "output bit width")
    step = float(scale.item())
    if newer:
        coarse = editor.scale(node, 4, "output scale")
        dropped = round(math.log2(float(coarse.flat[0]) / step))
        step, factor = float(coarse.flat[0]), 1.0
        signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 0))
    else:
        dropped, narrow = before - after, False
        factor, signed = 2.0**-dropped if 0 <= dropped <= 32 else 1.0, _is_signed(editor, node)
    if not 0 <= dropped <= 32 or not 1 <= after <= 16:
        raise editor.unsupported(node, f"bit widths {before} to {after}; allowed: fewer, 1 to 16")
    source, output = node.input[0], node.output[0]
    if factor != 1.0:
        source = _applied(editor, "Mul", source, f"{output}/divided", factor)
    if mode == "FLOOR" and dropped:
        move = -step * (0.5 - 0.5 ** (dropped + 1))
        source = _applied(editor, "Add", source, f"{output}/moved", move)
    quant = _Quant(np.array(step), np.zeros(()), after, signed, narrow, "ROUND")
    _activation(editor, node, quant, source)


def _applied(editor: GraphEditor, op: str, source: str, wanted: str, value: float) -> str:
    result = editor.name(wanted)
    editor.add(op, [source, editor.const(f"{wanted}/by", np.float32(value))], result)
    return result


def _is_signed(editor: GraphEditor, node: NodeProto) -> bool:
    """Whether the quantizer before a Trunc of version 1, which does not say, is signed."""
    value, seen = node.input[0], 0
    while value in editor.writers and seen < 64:
        writer, seen = editor.writers[value], seen + 1
        if writer.domain in DOMAINS:
            return bool(attributes_of(writer).get("signed", 1))
        value = writer.input[0] if writer.input else ""
    return True
