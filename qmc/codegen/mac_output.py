"""The last part of a MAC kernel: accumulators of a finished tile become packed codes."""

from __future__ import annotations

from contextlib import ExitStack

from qmc.arithmetic import Rounding
from qmc.codegen.mac_plan import MacPlan
from qmc.codegen.nest import NestLoop
from qmc.codegen.walk import offset, open_walks, walks
from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.layer import RELEVANT, LoopBounds, LoopDim, Operand
from qmc.packing import row_bytes

_FUNCTION = {
    Rounding.HALF_UP: "qmc_half_up",
    Rounding.FLOOR: "qmc_floor_shift",
    Rounding.TFLITE_DOUBLE: "qmc_tflite_double",
}
#: Outermost first: a pixel's channels are neighbours in memory.
_ORDER = (LoopDim.N, LoopDim.P, LoopDim.Q, LoopDim.G, LoopDim.K)


def print_output_constants(writer: Writer, prefix: str) -> None:
    """Short names for the constants of the requantization."""
    for kind, name in (
        ("int32_t", "multiplier"),
        ("int32_t", "start"),
        ("int32_t", "offset"),
        ("uint8_t", "shift"),
    ):
        writer.line(f"const {kind} *const {name} = {prefix}_{name};")


def print_output_tile(writer: Writer, integer: IntegerLayer, plan: MacPlan) -> None:
    """Requantize, clamp and store the outputs of one tile, channel by channel."""
    assert integer.requant is not None
    bounds, bits = integer.layer.bounds, integer.output.bits
    row = row_bytes(bounds.G * bounds.K, bits)
    outputs = [loop for loop in plan.nest.loops if loop.dim in RELEVANT[Operand.O]]
    outside = [loop for loop in plan.nest.temporal[: plan.cut] if loop in outputs]
    inside = [loop for loop in outputs if loop not in outside]
    inside.sort(key=lambda loop: (_ORDER.index(loop.dim), -loop.step))
    channel, pixel = _strides(outputs, bounds)
    order = walks(inside, {"acc": plan.acc, "channel": channel, "pixel": pixel}, outside)
    with ExitStack() as stack:
        open_walks(writer, stack, order)
        first = [(loop.index, channel.get(loop.index, 0)) for loop in outside]
        writer.line(f"int channel = {linear(first + offset(order, 'channel'))};")
        first = [(loop.index, pixel.get(loop.index, 0)) for loop in outside]
        writer.line(f"uint8_t *row = output + ({linear(first + offset(order, 'pixel'))})*{row};")
        writer.line(f"int32_t total = acc[{linear(offset(order, 'acc'))}] + start[channel];")
        writer.line(
            f"int64_t code = {_FUNCTION[integer.requant.rounding]}(total, multiplier[channel], "
            "shift[channel]) + offset[channel];"
        )
        clamped = f"qmc_clamp(code, {integer.low}, {integer.high})"
        writer.line(f"qmc_put(row, channel, {clamped}, {bits});")


def _strides(loops: list[NestLoop], bounds: LoopBounds) -> tuple[dict[str, int], dict[str, int]]:
    """Strides of the output loops in the channels of a pixel, and in pixels."""
    channels = {LoopDim.G: bounds.K, LoopDim.K: 1}
    pixels = {LoopDim.P: bounds.Q, LoopDim.Q: 1}
    channel = {loop.index: loop.step * channels.get(loop.dim, 0) for loop in loops}
    pixel = {loop.index: loop.step * pixels.get(loop.dim, 0) for loop in loops}
    return channel, pixel
