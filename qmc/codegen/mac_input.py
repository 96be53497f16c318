"""The part of a MAC kernel that turns packed pixels into a padded tile of bytes."""

from __future__ import annotations

from contextlib import ExitStack

from qmc.codegen.input_tile import channel_step, image_size, pixel_step
from qmc.codegen.mac_plan import MacPlan
from qmc.codegen.nest import NestLoop
from qmc.codegen.walk import Walk, offset, open_walks, walks
from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.layer import LoopDim
from qmc.network import Tensor
from qmc.packing import row_bytes


def needs_pixel(integer: IntegerLayer, plan: MacPlan, source: Tensor) -> bool:
    """Whether pixels are unpacked to a buffer of their own first."""
    if plan.input.direct or integer.inputs[0].bits == 8:
        return False
    return plan.input.channels < source.channels or not _is_plain(_channel_walks(integer, plan))


def print_input_tile(writer: Writer, integer: IntegerLayer, plan: MacPlan, source: Tensor) -> None:
    """Unpack the pixels that the loops inside touch; padding has the code of zero."""
    layer, tile, zero = integer.layer, plan.input, integer.inputs[0].zero_point
    height, width = image_size(source)
    outside = plan.nest.temporal[: tile.load]
    steps = [(loop.index, *pixel_step(integer, loop)) for loop in outside]
    row = linear([("h", 1)] + [(index, rows) for index, rows, _ in steps])
    column = linear([("v", 1)] + [(index, columns) for index, _, columns in steps])
    pitch = tile.width * tile.channels
    rows, columns = _cut_sides(integer, outside, plan)
    with writer.loop("h", tile.height, steps=rows):
        writer.line(f"int row_at = {row}{_minus(layer.pads[0])};")
        if layer.pads[0] or layer.pads[2]:
            with writer.block(f"if (row_at < 0 || row_at >= {height})"):
                writer.line(f"memset(x + h*{pitch}, {zero}, {pitch});")
                writer.line("continue;")
        with writer.loop("v", tile.width, steps=columns):
            writer.line(f"int column_at = {column}{_minus(layer.pads[1])};")
            writer.line(f"uint8_t *to = x + h*{pitch} + v*{tile.channels};")
            if layer.pads[1] or layer.pads[3]:
                with writer.block(f"if (column_at < 0 || column_at >= {width})"):
                    writer.line(f"memset(to, {zero}, {tile.channels});")
                    writer.line("continue;")
            pixel = row_bytes(source.channels, integer.inputs[0].bits)
            writer.line(f"const uint8_t *from = input + (row_at*{width} + column_at)*{pixel};")
            _print_pixel(writer, integer, plan, source)


def _cut_sides(
    integer: IntegerLayer, outside: tuple[NestLoop, ...], plan: MacPlan
) -> tuple[str, str]:
    """Rows and columns of the tile that exist, as C expressions; empty where all always do."""
    layer = integer.layer
    found = []
    for side, (whole, full) in enumerate(
        ((layer.input_height, plan.input.height), (layer.input_width, plan.input.width))
    ):
        dims = ((LoopDim.P, LoopDim.R), (LoopDim.Q, LoopDim.S))[side]
        cut = any(loop.bound for loop in plan.nest.loops if loop.dim in dims)
        start = [(loop.index, pixel_step(integer, loop)[side]) for loop in outside]
        left = " - ".join([str(whole), *(linear([term]) for term in start if term[1])])
        found.append(f"qmc_least({full}, {left})" if cut else "")
    return found[0], found[1]


def _minus(pad: int) -> str:
    return f" - {pad}" if pad else ""


def _print_pixel(writer: Writer, integer: IntegerLayer, plan: MacPlan, source: Tensor) -> None:
    """Copy the tile's channels of one pixel, in the order in which the nest walks through them."""
    tile, bits = plan.input, integer.inputs[0].bits
    order = _channel_walks(integer, plan)
    outside = plan.nest.temporal[: tile.load]
    first = linear([(loop.index, channel_step(integer, loop)) for loop in outside])
    origin = "from"
    if needs_pixel(integer, plan, source):
        writer.line(f"qmc_unpack(pixel, from, {source.channels}, {bits});")
        origin = "pixel"
    elif bits < 8:
        writer.line(f"qmc_unpack(to, from, {tile.channels}, {bits});")
        return
    if first != "0":
        origin += f" + {first}"
    if _is_plain(order):
        writer.line(f"memcpy(to, {origin}, {tile.channels});")
        return
    with ExitStack() as stack:
        open_walks(writer, stack, order)
        target, place = linear(offset(order, "x")), linear(offset(order, "channel"))
        writer.line(f"to[{target}] = ({origin})[{place}];")


def _channel_walks(integer: IntegerLayer, plan: MacPlan) -> tuple[Walk, ...]:
    inside = plan.nest.temporal[plan.input.load :] + plan.nest.spatial
    loops = [loop for loop in inside if loop.dim in (LoopDim.G, LoopDim.C)]
    loops.sort(key=lambda loop: (loop.dim is LoopDim.C, -loop.step))
    channel = {loop.index: channel_step(integer, loop) for loop in loops}
    outside = plan.nest.temporal[: plan.input.load]
    return walks(loops, {"x": plan.input.strides, "channel": channel}, outside)


def _is_plain(order: tuple[Walk, ...]) -> bool:
    """Whether the channels lie in the tile as in the tensor, one after another."""
    return not order or (
        len(order) == 1
        and not order[0].steps
        and order[0].stride("x") == 1
        and order[0].stride("channel") == 1
    )
