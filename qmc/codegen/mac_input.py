"""The first part of a MAC kernel: packed pixels become a padded tile of bytes."""

from __future__ import annotations

from contextlib import ExitStack

from qmc.codegen.mac_plan import MacPlan, image_size
from qmc.codegen.walk import offset, open_walks, walks
from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.layer import LoopDim
from qmc.network import Tensor
from qmc.packing import row_bytes


def print_input_tile(writer: Writer, integer: IntegerLayer, plan: MacPlan, source: Tensor) -> None:
    """Unpack the pixels that the nest touches; padding has the code of zero."""
    layer, tile, quant = integer.layer, plan.input, integer.inputs[0]
    height, width = image_size(source)
    top, left = layer.pads[:2]
    rows = max(0, min(height, tile.height - top))
    columns = max(0, min(width, tile.width - left))
    if rows < tile.height or columns < tile.width:
        writer.line(f"memset(x, {quant.zero_point}, {tile.size_bytes});")
    if rows == 0 or columns == 0:
        return
    row = row_bytes(tile.channels, quant.bits)
    if quant.bits == 8 and not tile.permuted:
        with writer.loop("h", rows):
            start = (top * tile.width + left) * tile.channels
            pitch = tile.width * tile.channels
            writer.line(
                f"memcpy(x + h*{pitch} + {start}, input + h*{width * row}, {columns * row});"
            )
        return
    with writer.loop("h", rows), writer.loop("v", columns):
        writer.line(f"const uint8_t *from = input + (h*{width} + v)*{row};")
        writer.line(f"uint8_t *to = x + ((h + {top})*{tile.width} + v + {left})*{tile.channels};")
        target = "pixel" if tile.permuted else "to"
        writer.line(f"qmc_unpack({target}, from, {tile.channels}, {quant.bits});")
        if tile.permuted:
            _print_permutation(writer, plan, layer.bounds.C)


def _print_permutation(writer: Writer, plan: MacPlan, per_group: int) -> None:
    """Put the channels of a pixel into the order in which the nest walks through them."""
    loops = [loop for loop in plan.nest.loops if loop.dim in (LoopDim.G, LoopDim.C)]
    loops.sort(key=lambda loop: (loop.dim is LoopDim.C, -loop.step))
    channel = {
        loop.index: loop.step * (per_group if loop.dim is LoopDim.G else 1) for loop in loops
    }
    order = walks(loops, {"x": plan.x, "channel": channel})
    with ExitStack() as stack:
        open_walks(writer, stack, order)
        to, origin = linear(offset(order, "x")), linear(offset(order, "channel"))
        writer.line(f"to[{to}] = pixel[{origin}];")
