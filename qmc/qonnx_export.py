"""An integer network as QONNX: float operators, and one ``Quant`` node for every tensor.

Source: QONNX 1.0, ``docs/qonnx-custom-ops/intquant_v1.md``. Values are float32 there: what an
executor computes may differ from the integers by a code where a sum lies on a rounding edge.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from qmc.lift_functions import lift_functions
from qmc.onnx_edit import GraphEditor

DOMAIN = "qonnx.custom_op.general"
#: Widths need no types of their own, so 2 bits need no younger opset; Swish is of 24.
_OPSET, _SWISH_OPSET = 21, 25
#: Bits of what is stored in 32-bit integers: biases.
_BIAS_BITS = 32


def to_qonnx(exported: ModelProto) -> ModelProto:
    """The QONNX form of a model made by :func:`qmc.qdq_export.to_qdq`; that model is kept."""
    model = ModelProto()
    model.CopyFrom(exported)
    lift_functions(Path("exported"), model)
    is_young = any(node.op_type == "Swish" for node in model.graph.node)
    opset = _SWISH_OPSET if is_young else _OPSET
    editor = GraphEditor(Path("exported"), model.graph, opset)
    clips = {
        n.output[0]: n for n in model.graph.node if n.op_type == "Clip" and _is_code(editor, n)
    }
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            _quantizer(editor, node, clips)
        elif node.op_type == "Identity":  # the exact rounding of the input
            editor.nodes.append(node)
        elif node.op_type != "QuantizeLinear" and node.output[0] not in clips:
            editor.nodes.append(node)
    editor.finish()
    del model.opset_import[:]
    model.opset_import.add(domain="", version=opset)
    model.opset_import.add(domain=DOMAIN, version=1)
    model.ir_version = 13 if is_young else 10
    return model


def _is_code(editor: GraphEditor, clip: NodeProto) -> bool:
    """Whether a Clip works on codes."""
    limits = [editor.array(name) for name in clip.input[1:] if name]
    return any(limit is not None and limit.dtype != np.float32 for limit in limits)


def _quantizer(editor: GraphEditor, node: NodeProto, clips: dict[str, NodeProto]) -> None:
    clip = clips.get(node.input[0])
    source = node.input[0] if clip is None else clip.input[0]
    codes = editor.array(source)
    limits = (
        None if clip is None else [int(editor.operand(clip, i, "limits").item()) for i in (1, 2)]
    )
    scale = editor.array(node.input[1])
    assert scale is not None
    if codes is None:
        pair = editor.writers[source]
        zero = editor.array(pair.input[2])
        assert zero is not None
        width = _width(zero) if limits is None else limits[1].bit_length()
        _activation(editor, node, pair.input[0], int(zero.item()), scale, width)
    else:
        width = _width(codes) if limits is None else limits[1].bit_length() + 1
        _constant(editor, node, codes, scale, width)


def _width(array: NDArray[Any]) -> int:
    """Bits of an element as ONNX stores it."""
    name = array.dtype.name
    return int("".join(c for c in name if c.isdigit()))


def _activation(
    editor: GraphEditor, node: NodeProto, source: str, zero: int, scale: NDArray[Any], bits: int
) -> None:
    """Codes around zero are signed; all others count from zero."""
    is_signed = zero == 1 << (bits - 1)
    value = 0.0 if is_signed else float(zero)
    _quant(editor, node, source, scale.astype(np.float32), value, bits, is_signed, False)


def _constant(
    editor: GraphEditor, node: NodeProto, codes: NDArray[Any], scale: NDArray[Any], bits: int
) -> None:
    """Weights and biases: the numbers, and the scales in a shape that broadcasts with them."""
    bits = _BIAS_BITS if codes.dtype == np.int32 else bits
    shape = (-1, *([1] * (codes.ndim - 1)))
    steps = scale.astype(np.float32).reshape(shape)
    reals = (codes.astype(np.float64) * steps.astype(np.float64)).astype(np.float32)
    name = editor.const(f"{node.output[0]}/real", reals)
    is_narrow = bool(codes.astype(np.int64).min(initial=0) > -(1 << (bits - 1)))
    _quant(editor, node, name, steps, 0.0, bits, True, is_narrow and bits < _BIAS_BITS)


def _quant(
    editor: GraphEditor,
    node: NodeProto,
    source: str,
    scale: NDArray[np.float32],
    zero: float,
    bits: int,
    signed: bool,
    narrow: bool,
) -> None:
    output = node.output[0]
    constants = [
        editor.const(f"{output}/scale", scale),
        editor.const(f"{output}/zeropt", np.float32(zero)),
        editor.const(f"{output}/bitwidth", np.float32(bits)),
    ]
    editor.add(
        "Quant",
        [source, *constants],
        output,
        f"{output}/Quant",
        domain=DOMAIN,
        signed=int(signed),
        narrow=int(narrow),
        rounding_mode="ROUND",
    )
