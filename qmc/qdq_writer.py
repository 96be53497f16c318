"""Nodes and constants of a QDQ file under construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx import NodeProto, TensorProto, helper, numpy_helper

from qmc.arithmetic import QuantParams
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.onnx_functions import DOMAIN
from qmc.scheme import Scheme

#: Stored types of activations by width; the others are clipped codes of the next wider type.
_CODES = {2: TensorProto.UINT2, 4: TensorProto.UINT4, 8: TensorProto.UINT8, 16: TensorProto.UINT16}


@dataclass(slots=True)
class QdqWriter:
    """Nodes and constants written so far.

    Attributes:
        integer: the network.
        scheme: its scales.
        nodes: in execution order.
        constants: by name.
        reals: by tensor, the name of its dequantized floats.
        operators: those of the domain ``qmc`` that occur.
        taken: names in use.
    """

    integer: IntegerNetwork
    scheme: Scheme
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    reals: dict[str, str] = field(default_factory=dict)
    operators: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)

    def name(self, wanted: str) -> str:
        """A name that nothing else has."""
        name, copies = wanted, 1
        while name in self.taken:
            copies += 1
            name = f"{wanted}_{copies}"
        self.taken.add(name)
        return name

    def const(self, wanted: str, array: ArrayLike, kind: int | None = None) -> str:
        """Add an initializer, of a sub-byte type if ``kind`` says so."""
        name = self.name(wanted)
        if kind is None:
            tensor = numpy_helper.from_array(np.asarray(array), name)
        else:
            dtype = helper.tensor_dtype_to_np_dtype(kind)
            tensor = numpy_helper.from_array(np.asarray(array).astype(dtype), name)
        self.constants[name] = tensor
        return name

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        label: str | None = None,
        **attributes: Any,
    ) -> str:
        """Add a standard node."""
        name = self.name(f"{output}/{op}") if label is None else label
        self.nodes.append(helper.make_node(op, list(inputs), [output], name, **attributes))
        return output

    def call(
        self, op: str, inputs: Sequence[str], output: str, label: str, **attributes: Any
    ) -> str:
        """Add a node of the domain ``qmc``."""
        self.operators.add(op)
        node = helper.make_node(op, list(inputs), [output], label, domain=DOMAIN, **attributes)
        self.nodes.append(node)
        return output

    def scale(self, wanted: str, params: QuantParams) -> str:
        """A tensor's scale as float32."""
        return self.const(f"{wanted}/scale", np.float32(params.scale))

    def pair(self, tensor: str, source: str, params: QuantParams) -> str:
        """QuantizeLinear and DequantizeLinear; returns the name of the floats."""
        kind = _CODES.get(params.bits, TensorProto.UINT8 if params.bits < 8 else TensorProto.UINT16)
        scale = self.scale(tensor, params)
        zero = self.const(f"{tensor}/zero_point", np.array(params.zero_point), kind)
        codes = self.add("QuantizeLinear", [source, scale, zero], self.name(f"{tensor}/quantized"))
        if params.bits not in _CODES:
            ends = [self.const(f"{tensor}/code", np.array(c), kind) for c in (0, params.high)]
            codes = self.add("Clip", [codes, *ends], self.name(f"{tensor}/clipped"))
        is_output = tensor == self.integer.output
        output = tensor if is_output else self.name(f"{tensor}/dequantized")
        return self.add("DequantizeLinear", [codes, scale, zero], output)

    def shift(self, layer: IntegerLayer, addend: Any, shift: Any, offset: Any = 0) -> list[str]:
        """Constants of the function Shift: what is added, divided by, and the limits."""
        label, zero = layer.layer.name, layer.output.zero_point
        divisor = np.int64(1) << np.asarray(shift, dtype=np.int64)
        arrays = {
            "addend": np.asarray(addend, dtype=np.int64),
            "divisor": np.asarray(divisor),
            "offset": np.asarray(offset, dtype=np.int64) - zero,
            "low": np.int64(layer.low - zero),
            "high": np.int64(layer.high - zero),
        }
        names = [self.const(f"{label}/{key}", np.asarray(value)) for key, value in arrays.items()]
        return [*names, self.const(f"{label}/scale", np.float32(layer.output.scale))]
