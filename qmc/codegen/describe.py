"""The comment above an emitted function: shapes, widths, quantization and the loop nest."""

from __future__ import annotations

from qmc.arithmetic import QuantParams
from qmc.codegen.names import comment_text
from qmc.codegen.writer import Writer
from qmc.integer import IntegerLayer
from qmc.mapping import Mapping
from qmc.network import Tensor


def print_description(
    writer: Writer,
    integer: IntegerLayer,
    sources: tuple[Tensor, ...],
    result: Tensor,
    mapping: Mapping | None,
) -> None:
    """Print the comment; ``mapping`` only for layers that have one."""
    layer, bounds = integer.layer, integer.layer.bounds
    writer.line(f"/* {layer.op} {comment_text(layer.name)}")
    for source, quant in zip(sources, integer.inputs, strict=True):
        writer.line(f"   in   {_tensor(source, quant)}")
    writer.line(
        f"   out  {_tensor(result, integer.output)}, clamped to {integer.low}..{integer.high}"
    )
    if integer.weight_bits is not None:
        writer.line(
            f"   weights {bounds.G}x{bounds.K}x{bounds.C}x{bounds.R}x{bounds.S} (G K C R S), "
            f"{_numbers(integer)}; {layer.macs} multiply-accumulates"
        )
    if bounds.R * bounds.S > 1:
        pads = " ".join(str(pad) for pad in layer.pads)
        writer.line(
            f"   window {bounds.R}x{bounds.S}, strides {_pair(layer.strides)}, "
            f"dilations {_pair(layer.dilations)}, pads {pads} (top left bottom right)"
        )
    if mapping is not None:
        _print_nest(writer, mapping)
    writer.line("*/")


def _print_nest(writer: Writer, mapping: Mapping) -> None:
    writer.line("   loops, outermost first; those in space are one step of the array:")
    for keep in mapping.keep:
        words = [
            f"{loop.dim} {loop.extent}" + (f" in space {loop.spatial}" if loop.spatial else "")
            for loop in mapping.loops
            if loop.level == keep.level and loop.extent > 1
        ]
        kept = " ".join(sorted(operand.value for operand in keep.operands)) or "nothing"
        writer.line(f"     {comment_text(keep.level)} (keeps {kept}): {', '.join(words) or '-'}")


def _numbers(integer: IntegerLayer) -> str:
    name = "" if integer.weight_format is None else f"{integer.weight_format.name}, "
    return f"{name}{integer.weight_bits} bits"


def _tensor(tensor: Tensor, quant: QuantParams) -> str:
    shape = "x".join(str(extent) for extent in tensor.shape)
    return f"{shape}, {quant.bits} bits, scale {quant.scale:.6g}, zero point {quant.zero_point}"


def _pair(values: tuple[int, int]) -> str:
    return f"{values[0]}x{values[1]}"
