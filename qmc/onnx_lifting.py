"""Quantized models in other spellings become QuantizeLinear and DequantizeLinear.

Done before anything else is checked: what comes out are standard operators, and the width of a pair
that its type does not tell is in the node's metadata (:func:`qmc.onnx_edit.bits_of`).
"""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto

from qmc.lift_clips import lift_clips
from qmc.lift_functions import lift_functions
from qmc.lift_integer_operators import lift_integer_operators
from qmc.lift_qonnx import lift_qonnx


def lift_model(path: Path, model: ModelProto) -> ModelProto:
    """``model``, changed in place.

    Raises:
        UnsupportedOpError: a use of an operator that has no such spelling; names node and rule.
        ModelError: a constant that is needed for it is malformed.
    """
    lift_functions(path, model)
    lift_qonnx(path, model)
    lift_integer_operators(path, model)
    lift_clips(path, model)
    return model
