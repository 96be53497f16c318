"""Activations as vector kernels read and write them: one byte an element, channels last."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmc.codegen.scratch import Scratch
from qmc.codegen.vector.knobs import NO_KNOBS, Knobs
from qmc.codegen.writer import Writer
from qmc.integer import IntegerLayer, IntegerNetwork
from qmc.network import Tensor
from qmc.packing import row_bytes
from qmc.targets import KernelFamily

#: Bytes that a kernel may read beyond an operand: less than the narrowest vector.
OVER_READ = 16


@dataclass(slots=True)
class VectorLayer:
    """A layer while its kernel is printed.

    Attributes:
        network: the whole network.
        integer: the layer.
        family: the vector unit.
        prefix: of its constant arrays.
        writer: takes the body.
        scratch: memory of the kernel.
        over_read: bytes read beyond inputs that lie in the arena.
        knobs: how the kernel is built.
    """

    network: IntegerNetwork
    integer: IntegerLayer
    family: KernelFamily
    prefix: str
    writer: Writer
    scratch: Scratch = field(default_factory=lambda: Scratch(alignment=64))
    over_read: int = 0
    knobs: Knobs = NO_KNOBS

    def source(self, index: int = 0) -> Tensor:
        """An input tensor."""
        return self.network.tensors[self.integer.layer.inputs[index]]

    @property
    def result(self) -> Tensor:
        """The output tensor."""
        return self.network.tensors[self.integer.layer.output]

    @property
    def clip(self) -> str:
        """The clamp limits as C arguments."""
        return f"{self.integer.low}, {self.integer.high}"


def read_bytes(layer: VectorLayer, index: int, name: str, over_read: bool) -> str:
    """Name of input ``index`` as bytes.

    Elements below 8 bits are unpacked to scratch memory. So is an input that belongs to the caller
    where the kernel reads beyond its end.
    """
    source, bits = layer.source(index), layer.integer.inputs[index].bits
    tensor = layer.integer.layer.inputs[index]
    is_ours = tensor not in (layer.network.input, layer.network.output)
    if bits == 8 and (is_ours or not over_read):
        layer.over_read = max(layer.over_read, OVER_READ * over_read)
        return name
    copy = f"bytes{index}"
    layer.scratch.add(copy, "uint8_t", source.size + OVER_READ)
    if bits == 8:
        layer.writer.line(f"memcpy({copy}, {name}, {source.size});")
        return copy
    row, channels = row_bytes(source.channels, bits), source.channels
    if channels * bits % 8 == 0:  # no padding: all rows are one
        layer.writer.line(f"qmc_spread({copy}, {name}, {source.size}, {bits});")
        return copy
    with layer.writer.loop("v", source.pixels):
        at = f"{copy} + v*{channels}, {name} + v*{row}"
        layer.writer.line(f"qmc_spread({at}, {channels}, {bits});")
    return copy


def open_result(layer: VectorLayer) -> str:
    """Name of the output as bytes; :func:`close_result` packs them where it has fewer bits."""
    if layer.integer.output.bits == 8:
        return "output"
    layer.scratch.add("result", "uint8_t", layer.result.size)
    return "result"


def close_result(layer: VectorLayer) -> None:
    """Pack the result."""
    bits, result = layer.integer.output.bits, layer.result
    if bits == 8:
        return
    if result.channels * bits % 8 == 0:
        layer.writer.line(f"qmc_pack(output, result, {result.size}, {bits});")
        return
    with layer.writer.loop("v", result.pixels):
        layer.writer.line(
            f"qmc_pack(output + v*{row_bytes(result.channels, bits)}, "
            f"result + v*{result.channels}, {result.channels}, {bits});"
        )
