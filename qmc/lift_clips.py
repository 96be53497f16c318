"""QCDQ: a Clip of the codes between QuantizeLinear and DequantizeLinear says the real width.

Brevitas and QONNX store codes of fewer than 8 bits so; source: QONNX, transformation QCDQ.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto

from qmc.onnx_edit import GraphEditor, set_bits


def lift_clips(path: Path, model: ModelProto) -> None:
    """Replace clips of codes by the width they mean.

    Raises:
        UnsupportedOpError: the limits are no range of a width.
    """
    graph = model.graph
    sources = {node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    dequantized = {
        node.input[0] for node in graph.node if node.op_type == "DequantizeLinear" and node.input
    }
    clips = [
        node
        for node in graph.node
        if node.op_type == "Clip" and node.output and node.output[0] in dequantized
    ]
    if not clips:
        return
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    editor = GraphEditor(path, graph, opset)
    renamed: dict[str, str] = {}
    bits: dict[str, int] = {}  # by the value before the Clip
    for clip in clips:
        source = clip.input[0]
        if source in sources or source in editor.constants:
            bits[source] = min(_width(editor, clip), bits.get(source, 16))
            renamed[clip.output[0]] = source
    for node in graph.node:
        if node.op_type == "Clip" and node.output[0] in renamed:
            continue
        if node.op_type == "DequantizeLinear" and node.input[0] in renamed:
            source = renamed[node.input[0]]
            node.input[0] = source
            set_bits(node, bits[source])
        if node.op_type == "QuantizeLinear" and node.output[0] in bits:
            set_bits(node, bits[node.output[0]])
        editor.nodes.append(node)
    editor.finish()


def _width(editor: GraphEditor, clip: NodeProto) -> int:
    low, high = (editor.whole(clip, position, "limit") for position in (1, 2))
    for bits in range(1, 17):
        top = 1 << (bits - 1)
        if (low, high) in {(0, 2 * top - 1), (-top, top - 1)}:
            return bits
        values = editor.array(clip.input[0])  # a narrow range is as good for constants
        if (low, high) == (1 - top, top - 1) and values is not None and bits > 1:
            if np.asarray(values).astype(np.int64).min(initial=0) >= low:
                return bits
    rule = f"codes clipped to {low}..{high}; allowed: 0..2^b-1 or -2^(b-1)..2^(b-1)-1"
    raise editor.unsupported(clip, rule)
