"""Pass: quantize-dequantize pairs of activations become entries of a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.canonicalize_clip import clamp, clamp_limits
from qmc.passes.data_movement import RESHAPES, TRANSPOSE
from qmc.passes.relax_expr import Array, constant, node_index, number, op_name
from qmc.passes.rewriter import CallRewriter, rewrite_main

_BITS = {"uint8": 8, "int8": 8, "uint16": 16}
#: Arithmetic with a constant, which becomes part of a convolution.
_FOLDED = frozenset({"relax.multiply", "relax.divide", "relax.subtract"})
#: Operators that the importer spells as arithmetic, which is recognized later.
_FUNCTIONS = frozenset("Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Softplus Swish".split())
#: Layers that take a clamp.
_CLAMPED = frozenset({"relax.nn.conv2d", "relax.nn.conv1d", "relax.matmul", "relax.add"})


@tvm.transform.module_pass(opt_level=0, name="AbsorbQuantization")
@dataclass(frozen=True)
class AbsorbQuantization:
    """Take quantization parameters of activations out of the graph (QDQ models).

    ::

        y = dequantize(quantize(x, s, z), s, z)   ->  y = clip(x, (qmin - z) * s, (qmax - z) * s)

    The module attribute ``qmc.given_ranges`` gets (bits, scale, zero point of the unsigned code) by
    ONNX node index. The clamp is what saturation does to a real number: exporters drop a ReLU where
    the range begins at zero. It is left out where no layer could take it, there the values lie in
    the range already.
    Requires: scalar parameters, of int8, uint8, or uint16 with widths in ``qmc.activation_bits``.
    Ensures: no such pair is left; the values are those of the original up to rounding.
    ``dequantize`` of constants (weights) stays.
    Does not fire when: scales differ between the two, or are per channel.
    Source: ONNX operators QuantizeLinear and DequantizeLinear, version 13.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        table: dict[str, str] = {}
        widths = dict((module.attrs or {}).get("qmc.activation_bits", {}))
        bits = {str(index): int(width) for index, width in widths.items()}
        nodes = (module.attrs or {}).get("qmc.nodes", [])
        functions = {index for index, node in enumerate(nodes) if str(node[2]) in _FUNCTIONS}
        updated = rewrite_main(module, lambda function: _Rewriter(function, table, bits, functions))
        return updated.with_attr("qmc.given_ranges", table) if table else updated


def range_key(variable_name: str) -> str:
    """Key of a variable in ``qmc.given_ranges``: its node's index, or its name without one."""
    index = node_index(variable_name)
    return variable_name if index is None else str(index)


@mutator
class _Rewriter(CallRewriter):
    def __init__(
        self, function: Any, table: dict[str, str], bits: dict[str, int], functions: set[int]
    ) -> None:
        super().__init__(function)
        self._table = table
        self._bits = bits
        self._functions = functions

    def rewrite(self, call: Any, original: Any) -> Any | None:
        if op_name(call) != "relax.dequantize":
            return None
        quantized = self.value(call.args[0])
        if op_name(quantized) != "relax.quantize":
            return None
        width = self._bits.get(range_key(self.variable.name))
        entry = _entry(quantized, width)
        if entry is None or entry != _entry(call, width, str(quantized.ty.dtype)):
            return None
        bits, scale, zero_point = entry
        data = quantized.args[0]
        values = constant(data)
        if values is not None:
            return relax.const(_round_trip(values, *entry))
        if op_name(self.value(data)) == "relax.nn.pad" and not self._is_noted(data, entry):
            return None  # the pad vanishes, and a rounding of its own with it
        if not self._takes_clamp(data):
            self._note(data, json.dumps(entry))
            return data
        self._table.setdefault(range_key(self.variable.name), json.dumps(entry))
        top = (1 << bits) - 1
        return clamp(data, -zero_point * scale, (top - zero_point) * scale)

    def _is_noted(self, pad: Any, entry: tuple[int, float, int]) -> bool:
        """Whether what is padded has this quantization, or none."""
        source = self.value(pad).args[0]
        text = self._table.get(range_key(source.name), json.dumps(entry))
        return text == json.dumps(entry)

    def _note(self, data: Any, text: str) -> None:
        """Enter ``data``, and what it was before transposes and reshapes, which may vanish."""
        self._table.setdefault(range_key(data.name), text)
        value = self.value(data)
        if op_name(value) == TRANSPOSE or op_name(value) in RESHAPES:
            self._note(value.args[0], text)

    def _takes_clamp(self, data: Any) -> bool:
        """Whether ``data`` is the output of a layer that takes a clamp, now or after folding."""
        if node_index(data.name) in self._functions:
            return False
        value = self.value(data)
        if clamp_limits(value) is not None:
            value = self.value(value.args[0])
        if isinstance(value, relax.TupleGetItem):
            return op_name(self.value(value.tuple_value)) == "relax.nn.batch_norm"
        if op_name(value) in _FOLDED:
            return any(constant(self.value(argument)) is not None for argument in value.args)
        return op_name(value) in _CLAMPED


def _round_trip(values: Array, bits: int, scale: float, zero_point: int) -> Array:
    """What a constant is worth after QuantizeLinear (halves to even, saturating) and back."""
    codes = np.clip(np.rint(values / scale) + zero_point, 0, (1 << bits) - 1)
    return np.asarray((codes - zero_point) * scale, dtype=np.float32)


def _entry(call: Any, width: int | None, dtype: str = "") -> tuple[int, float, int] | None:
    """(bits, scale, zero point of the unsigned code) of a quantize or dequantize call."""
    dtype = dtype or str(call.ty.dtype)
    scale, zero = number(call.args[1]), number(call.args[2])
    if dtype not in _BITS or scale is None or zero is None or not scale > 0:
        return None
    shift = 1 << (_BITS[dtype] - 1) if dtype.startswith("int") else 0
    return width or _BITS[dtype], scale, int(zero) + shift
