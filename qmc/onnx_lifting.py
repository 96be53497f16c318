"""Quantized models in other spellings become QuantizeLinear and DequantizeLinear.

Done before anything else is checked: what comes out are standard operators, and the width of a pair
that its type does not tell is in the node's metadata (:func:`qmc.onnx_edit.bits_of`).
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from qmc.errors import ModelError
from qmc.lift_clips import lift_clips
from qmc.lift_functions import lift_functions
from qmc.lift_integer_operators import lift_integer_operators
from qmc.lift_match import lift_match
from qmc.lift_qonnx import lift_qonnx


def lift_model(path: Path, model: ModelProto) -> ModelProto:
    """``model``, changed in place.

    Raises:
        UnsupportedOpError: a use of an operator that has no such spelling; names node and rule.
        ModelError: a node lacks inputs or outputs, or a constant that is needed is malformed.
    """
    _check_arity(path, model)
    lift_functions(path, model)
    lift_qonnx(path, model)
    lift_match(path, model)
    lift_integer_operators(path, model)
    lift_clips(path, model)
    return model


def _check_arity(path: Path, model: ModelProto) -> None:
    """What follows reads the first output and the required inputs of nodes without asking."""
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    for node in model.graph.node:
        name = node.name or node.op_type
        if not isinstance(node.op_type, str) or not isinstance(name, str):  # protobuf gives bytes
            raise ModelError(path, "holds a name that is not UTF-8 text")
        if not node.output or not node.output[0]:
            raise ModelError(path, f"operator {node.op_type} has no output", name)
        if node.domain in ("", "ai.onnx") and onnx.defs.has(node.op_type):
            try:
                needed = onnx.defs.get_schema(node.op_type, opset).min_input
            except onnx.defs.SchemaError:  # newer than the model's opset
                continue
            if len(node.input) < needed or not all(node.input[:needed]):
                found = f"has {sum(map(bool, node.input))} inputs; allowed: at least {needed}"
                raise ModelError(path, f"operator {node.op_type} {found}", name)
