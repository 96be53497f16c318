"""C functions of layers that work pixel by pixel: ADD, MUL, CONCAT, LOOKUP, SOFTMAX."""

from __future__ import annotations

from qmc.codegen.scratch import Scratch
from qmc.codegen.writer import Writer
from qmc.integer import IntegerLayer
from qmc.layer import Op
from qmc.network import Tensor
from qmc.packing import row_bytes
from qmc.reference import softmax_factor


def elementwise_scratch(integer: IntegerLayer, sources: tuple[Tensor, ...]) -> Scratch:
    """One unpacked pixel per input."""
    scratch = Scratch()
    for i, source in enumerate(sources):
        scratch.add(f"pixel{i}", "uint8_t", source.channels)
    return scratch


def print_elementwise(
    writer: Writer, integer: IntegerLayer, sources: tuple[Tensor, ...], result: Tensor, prefix: str
) -> None:
    """Print the body of the kernel."""
    row = row_bytes(result.channels, integer.output.bits)
    with writer.loop("v", result.pixels):
        writer.line(f"uint8_t *row = output + v*{row};")
        for i, (source, quant) in enumerate(zip(sources, integer.inputs, strict=True)):
            place = f" + v*{row_bytes(source.channels, quant.bits)}" if source.pixels > 1 else ""
            writer.line(f"qmc_unpack(pixel{i}, input{i}{place}, {source.channels}, {quant.bits});")
        if integer.output.bits < 8:
            writer.line(f"memset(row, 0, {row});")
        match integer.layer.op:
            case Op.CONCAT:
                _print_concat(writer, integer, sources)
            case Op.SOFTMAX:
                _print_softmax(writer, integer, result, prefix)
            case Op.LOOKUP:
                with writer.loop("c", result.channels):
                    code = f"{prefix}_table[pixel0[c]]"
                    writer.line(f"qmc_put(row, c, {code}, {integer.output.bits});")
            case _:
                with writer.loop("c", result.channels):
                    writer.line(f"int64_t code = {_code(integer)};")
                    _print_put(writer, integer, "c", "code")


def _code(integer: IntegerLayer) -> str:
    if integer.layer.op is Op.ADD:
        a, b = integer.rescales
        assert a.shift == b.shift
        return (
            f"(INT64_C({a.multiplier})*pixel0[c] + INT64_C({b.multiplier})*pixel1[c]"
            f" + INT64_C({a.offset + b.offset})) >> {a.shift}"
        )
    assert integer.layer.op is Op.MUL
    scale = integer.rescales[0]
    za, zb = (quant.zero_point for quant in integer.inputs)
    return (
        f"qmc_rescale((pixel0[c] - {za}) * (pixel1[c] - {zb}), {scale.multiplier}, "
        f"INT64_C({scale.offset}), {scale.shift})"
    )


def _print_put(writer: Writer, integer: IntegerLayer, index: str, code: str) -> None:
    writer.line(
        f"qmc_put(row, {index}, qmc_clamp({code}, {integer.low}, {integer.high}), "
        f"{integer.output.bits});"
    )


def _print_concat(writer: Writer, integer: IntegerLayer, sources: tuple[Tensor, ...]) -> None:
    start = 0
    for i, (source, scale) in enumerate(zip(sources, integer.rescales, strict=True)):
        with writer.loop("c", source.channels):
            writer.line(
                f"int64_t code = qmc_rescale(pixel{i}[c], {scale.multiplier}, "
                f"INT64_C({scale.offset}), {scale.shift});"
            )
            _print_put(writer, integer, f"{start} + c" if start else "c", "code")
        start += source.channels


def _print_softmax(writer: Writer, integer: IntegerLayer, result: Tensor, prefix: str) -> None:
    channels = result.channels
    writer.line("int largest = 0;")
    writer.line("uint64_t sum = 0;")
    with writer.loop("c", channels):
        writer.line("largest = pixel0[c] > largest ? pixel0[c] : largest;")
    with writer.loop("c", channels):
        writer.line(f"sum += {prefix}_table[largest - pixel0[c]];")
    with writer.loop("c", channels):
        writer.line(f"uint64_t share = {prefix}_table[largest - pixel0[c]];")
        writer.line(
            f"int64_t code = (int64_t)((share * {softmax_factor(integer)} + sum / 2) / sum);"
        )
        _print_put(writer, integer, "c", "code")
