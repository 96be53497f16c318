"""Exact functions of a file that qmc exported become the standard operators they stand for."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, NodeProto

from qmc.errors import ModelError
from qmc.onnx_edit import GraphEditor
from qmc.onnx_functions import DOMAIN, EXTRA_ATTRIBUTES, STANDARD_INPUTS, functions_of

#: Versions of the standard operators that exported files use.
_OPSETS = (21, 25)


def lift_functions(path: Path, model: ModelProto) -> None:
    """Replace nodes of the domain ``qmc``; their functions must be those of this version.

    Raises:
        ModelError: a function has another body, so the node may mean anything.
        UnsupportedOpError: a node of the domain is none of ours.
    """
    if not any(node.domain == DOMAIN for node in model.graph.node):
        return
    opsets = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    opset = opsets[0] if opsets else 0
    _check_bodies(path, model, opset)
    editor = GraphEditor(path, model.graph, opset)
    for node in model.graph.node:
        editor.nodes.append(_standard(editor, node) if node.domain == DOMAIN else node)
    editor.finish()
    del model.functions[:]
    kept = [(o.domain, o.version) for o in model.opset_import if o.domain != DOMAIN]
    del model.opset_import[:]
    for domain, version in kept:
        model.opset_import.add(domain=domain, version=version)


def _check_bodies(path: Path, model: ModelProto, opset: int) -> None:
    names = [function.name for function in model.functions]
    if opset in _OPSETS and len(set(names)) == len(names):
        for twice in (False, True):
            own = {
                f.name: f.SerializeToString() for f in functions_of(STANDARD_INPUTS, opset, twice)
            }
            if all(own.get(f.name) == f.SerializeToString() for f in model.functions):
                return
    raise ModelError(path, "its functions of domain 'qmc' are not those of this version of qmc")


def _standard(editor: GraphEditor, node: NodeProto) -> NodeProto:
    count = STANDARD_INPUTS.get(node.op_type)
    if count is None or len(node.input) < count:
        allowed = ", ".join(sorted(STANDARD_INPUTS))
        raise editor.unsupported(node, f"domain 'qmc'; allowed: {allowed} with all inputs")
    plain = NodeProto()
    plain.CopyFrom(node)
    plain.domain = ""
    if node.op_type == "Rescale":
        plain.op_type = "Identity"
    del plain.input[:]
    plain.input.extend(node.input[:count])
    extra = EXTRA_ATTRIBUTES.get(node.op_type, ())
    del plain.attribute[:]
    plain.attribute.extend(a for a in node.attribute if a.name not in extra)
    return plain
