"""C functions of MAX_POOL and AVERAGE_POOL."""

from __future__ import annotations

from qmc.codegen.mac_plan import image_size
from qmc.codegen.scratch import Scratch
from qmc.codegen.writer import Writer
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
    layer, bounds = integer.layer, integer.layer.bounds
    channels, bits = source.channels, integer.inputs[0].bits
    height, width = image_size(source)
    is_max = layer.op is Op.MAX_POOL
    row = row_bytes(channels, integer.output.bits)
    with writer.loop("p", bounds.P), writer.loop("q", bounds.Q):
        writer.line("int count = 0;")
        writer.line(f"uint8_t *row = output + (p*{bounds.Q} + q)*{row};")
        writer.line(f"memset(acc, 0, {channels} * sizeof(int32_t));")
        with writer.loop("r", bounds.R), writer.loop("s", bounds.S):
            (sh, sw), (dh, dw), (top, left) = layer.strides, layer.dilations, layer.pads[:2]
            writer.line(f"int h = p*{sh} + r*{dh} - {top}, w = q*{sw} + s*{dw} - {left};")
            with writer.block(f"if (h < 0 || h >= {height} || w < 0 || w >= {width})"):
                if layer.count_include_pad and not is_max:
                    writer.line("count++;")
                    with writer.loop("c", channels):
                        writer.line(f"acc[c] += {integer.inputs[0].zero_point};")
                writer.line("continue;")
            writer.line(
                f"qmc_unpack(pixel, input0 + (h*{width} + w)*{row_bytes(channels, bits)}, "
                f"{channels}, {bits});"
            )
            writer.line("count++;")
            with writer.loop("c", channels):
                writer.line(
                    "acc[c] = pixel[c] > acc[c] ? pixel[c] : acc[c];"
                    if is_max
                    else "acc[c] += pixel[c];"
                )
        if integer.output.bits < 8:
            writer.line(f"memset(row, 0, {row});")
        if is_max:
            writer.line("(void)count;")
        else:
            _print_divisor(writer, integer)
        with writer.loop("c", channels):
            code = "acc[c]" if is_max else "qmc_rescale(acc[c], multiplier, offset, shift)"
            writer.line(f"int64_t code = {code};")
            writer.line(
                f"qmc_put(row, c, qmc_clamp(code, {integer.low}, {integer.high}), "
                f"{integer.output.bits});"
            )


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
    if len(integer.rescales) == 1:
        writer.line("(void)count;")
