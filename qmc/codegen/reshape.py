"""C function of RESHAPE: move elements from the input's order to the output's."""

from __future__ import annotations

from math import prod

from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.network import Tensor
from qmc.packing import row_bytes


def print_reshape(writer: Writer, integer: IntegerLayer, source: Tensor, result: Tensor) -> None:
    """Print the body of the kernel: a walk over the transposed input in ONNX order."""
    rank = len(source.shape)
    perm = integer.layer.perm or tuple(range(rank))
    bits = integer.inputs[0].bits
    pixel_stride = [0, 0, *(prod(source.shape[axis + 1 :]) for axis in range(2, rank))]
    pixel = linear([(f"i{axis}", pixel_stride[axis]) for axis in range(rank)])
    writer.line("int at = 0;")
    if integer.output.bits < 8:
        size = result.pixels * row_bytes(result.channels, integer.output.bits)
        writer.line(f"memset(output, 0, {size});")
    _print_loops(writer, integer, perm, source, result, pixel, bits)


def _print_loops(
    writer: Writer,
    integer: IntegerLayer,
    axes: tuple[int, ...],
    source: Tensor,
    result: Tensor,
    pixel: str,
    bits: int,
) -> None:
    if axes:
        with writer.loop(f"i{axes[0]}", source.shape[axes[0]]):
            _print_loops(writer, integer, axes[1:], source, result, pixel, bits)
        return
    row = row_bytes(result.channels, integer.output.bits)
    writer.line(
        f"int code = qmc_get(input0 + ({pixel})*{row_bytes(source.channels, bits)}, i1, {bits});"
    )
    place = f"output + at % {result.pixels} * {row}, at / {result.pixels}"
    writer.line(f"qmc_put({place}, code, {integer.output.bits});")
    writer.line("at++;")
