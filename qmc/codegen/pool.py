"""C functions of MAX_POOL and AVERAGE_POOL."""

from __future__ import annotations

from qmc.codegen.input_tile import image_size
from qmc.codegen.scratch import Scratch
from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.layer import Op
from qmc.network import Tensor
from qmc.packing import row_bytes


def pool_scratch(source: Tensor) -> Scratch:
    """A sum or maximum per channel and one unpacked pixel."""
    scratch = Scratch()
    scratch.add("acc", "int32_t", source.channels)
    scratch.add("pixel", "uint8_t", source.channels)
    return scratch


def print_pool(writer: Writer, integer: IntegerLayer, source: Tensor) -> None:
    """Print the body of the kernel."""
    bounds, channels = integer.layer.bounds, source.channels
    row = row_bytes(channels, integer.output.bits)
    is_max = integer.layer.op is Op.MAX_POOL
    with writer.loop("p", bounds.P), writer.loop("q", bounds.Q):
        writer.line(f"uint8_t *row = output + (p*{bounds.Q} + q)*{row};")
        if len(integer.counts) > 1:
            writer.line("int count = 0;")
        writer.line(f"memset(acc, 0, {channels} * sizeof(int32_t));")
        with writer.loop("r", bounds.R), writer.loop("s", bounds.S):
            _print_window(writer, integer, source)
        if integer.output.bits < 8:
            writer.line(f"memset(row, 0, {row});")
        if not is_max:
            _print_divisor(writer, integer)
        with writer.loop("c", channels):
            code = "acc[c]" if is_max else "qmc_rescale(acc[c], multiplier, offset, shift)"
            clamped = f"qmc_clamp({code}, {integer.low}, {integer.high})"
            writer.line(f"qmc_put(row, c, {clamped}, {integer.output.bits});")


def _print_window(writer: Writer, integer: IntegerLayer, source: Tensor) -> None:
    """One element of the window: what lies outside the input counts only if asked for."""
    layer, quant = integer.layer, integer.inputs[0]
    height, width = image_size(source)
    for name, axis in (("h", 0), ("w", 1)):
        output, tap = ("p", "r") if axis == 0 else ("q", "s")
        place = linear([(output, layer.strides[axis]), (tap, layer.dilations[axis])])
        pad = layer.pads[axis]
        writer.line(f"int {name} = {place}{f' - {pad}' if pad else ''};")
    with writer.block(f"if (h < 0 || h >= {height} || w < 0 || w >= {width})"):
        if layer.count_include_pad and layer.op is Op.AVERAGE_POOL:
            with writer.loop("c", source.channels):
                writer.line(f"acc[c] += {quant.zero_point};")
        writer.line("continue;")
    row = row_bytes(source.channels, quant.bits)
    place = f"input0 + (h*{width} + w)*{row}"
    writer.line(f"qmc_unpack(pixel, {place}, {source.channels}, {quant.bits});")
    if len(integer.counts) > 1:
        writer.line("count++;")
    with writer.loop("c", source.channels):
        if layer.op is Op.MAX_POOL:
            writer.line("acc[c] = pixel[c] > acc[c] ? pixel[c] : acc[c];")
        else:
            writer.line("acc[c] += pixel[c];")


def _print_divisor(writer: Writer, integer: IntegerLayer) -> None:
    """Pick the constants that belong to the number of elements under the window."""
    first = integer.rescales[0]
    writer.line(f"int64_t multiplier = {first.multiplier}, offset = INT64_C({first.offset});")
    writer.line(f"int shift = {first.shift};")
    for count, scale in zip(integer.counts[1:], integer.rescales[1:], strict=True):
        with writer.block(f"if (count == {count})"):
            writer.line(f"multiplier = {scale.multiplier};")
            writer.line(f"offset = INT64_C({scale.offset});")
            writer.line(f"shift = {scale.shift};")
