"""C functions of layers that only move codes: RESHAPE and SLICE."""

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


def print_slice(writer: Writer, integer: IntegerLayer, source: Tensor, result: Tensor) -> None:
    """Print the body of the kernel: whole bytes of a pixel at once where the channels fill them.

    Channels in turn from several groups are moved one by one; of bytes, compilers make vectors.
    """
    bits = integer.output.bits
    rows = [row_bytes(tensor.channels, bits) for tensor in (source, result)]
    bounds, (channel, row, column) = integer.layer.bounds, integer.layer.starts
    width = source.shape[3] if len(source.shape) == 4 else 1
    groups = integer.layer.interleave
    is_bytes = channel * bits % 8 == 0 and result.channels * bits % 8 == 0 and groups == 1
    if not is_bytes and bits < 8:
        writer.line(f"memset(output, 0, {result.pixels * rows[1]});")
    with writer.loop("p", bounds.P), writer.loop("q", bounds.Q):
        y, x = (
            f"({linear([(index, stride)])} + {first})"
            for index, stride, first in zip("pq", integer.layer.strides, (row, column), strict=True)
        )
        writer.line(f"const uint8_t *from = input0 + ({y}*{width} + {x})*{rows[0]};")
        writer.line(f"uint8_t *to = output + (p*{bounds.Q} + q)*{rows[1]};")
        if is_bytes:
            writer.line(f"memcpy(to, from + {channel * bits // 8}, {rows[1]});")
        elif bits == 8 and channel % groups == 0 and result.channels % groups == 0:
            with writer.loop("c", result.channels // groups):
                for group in range(groups):
                    first = group * (source.channels // groups) + channel // groups
                    writer.line(f"to[c*{groups} + {group}] = from[c + {first}];")
        else:
            size = source.channels // groups
            turn = f"({channel} + c)"
            at = f"{turn} % {groups} * {size} + {turn} / {groups}" if groups > 1 else turn
            with writer.loop("c", result.channels):
                writer.line(f"qmc_put(to, c, qmc_get(from, {at}, {bits}), {bits});")


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
