"""The C function of a CONV or DENSE layer: its loops are the mapping's."""

from __future__ import annotations

from contextlib import ExitStack

from qmc.arithmetic import Rounding
from qmc.codegen.mac_plan import MacPlan, image_size
from qmc.codegen.nest import NestLoop
from qmc.codegen.scratch import Scratch
from qmc.codegen.walk import offset, open_walks, walks
from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.layer import RELEVANT, LoopDim, Operand
from qmc.network import Tensor
from qmc.packing import row_bytes

_ROUNDING_FUNCTION = {
    Rounding.HALF_UP: "qmc_half_up",
    Rounding.FLOOR: "qmc_floor_shift",
    Rounding.TFLITE_DOUBLE: "qmc_tflite_double",
}


def mac_scratch(plan: MacPlan) -> Scratch:
    """Scratch memory of the kernel: accumulators, weight tile, input tile, one unpacked pixel."""
    scratch = Scratch()
    scratch.add("acc", "int32_t", plan.acc_count)
    if plan.unpack_weights:
        scratch.add("w", "int8_t", plan.weight_count)
    if not plan.input.direct:
        scratch.add("x", "uint8_t", plan.input.size_bytes)
    if plan.input.permuted:
        scratch.add("pixel", "uint8_t", plan.input.channels)
    return scratch


def print_mac(
    writer: Writer,
    integer: IntegerLayer,
    plan: MacPlan,
    source: Tensor,
    weights: str,
    steps: frozenset[int],
) -> None:
    """Print the body of the kernel.

    Args:
        writer: receives the text.
        integer: the layer.
        plan: its loops and layouts.
        source: its input tensor.
        weights: prefix of its constant arrays.
        steps: depths at which the access counter is told the state of the loops.
    """
    bounds = integer.layer.bounds
    output_row = row_bytes(bounds.G * bounds.K, integer.output.bits)
    if plan.input.direct:
        writer.line("const uint8_t *const x = input;")
    else:
        _print_input_tile(writer, integer, plan, source)
    if not plan.unpack_weights:
        writer.line(f"const int8_t *const w = {weights}_weights;")
    if integer.output.bits < 8:
        writer.line(f"memset(output, 0, {bounds.P * bounds.Q * output_row});")
    with ExitStack() as stack:
        level = ""
        for depth in range(len(plan.nest.temporal) + 1):
            if depth == plan.cut:
                writer.line(f"memset(acc, 0, {plan.acc_count} * sizeof(int32_t));")
                inside = stack.enter_context(ExitStack())
            if depth == plan.fetch and plan.unpack_weights:
                _print_fetch(writer, integer, plan, weights)
            if depth in steps:
                indices = [loop.index for loop in plan.nest.temporal[:depth]] or ["0"]
                writer.line(f"STEP({depth}, {', '.join(indices)});")
            if depth == len(plan.nest.temporal):
                _print_body(writer, plan)
                break
            loop = plan.nest.temporal[depth]
            comment = loop.level if loop.level != level else ""
            level = loop.level
            (inside if depth >= plan.cut else stack).enter_context(
                writer.loop(loop.index, loop.extent, comment)
            )
        inside.close()
        _print_requantization(writer, integer, plan, weights, output_row)
    writer.line("DONE();")


def _print_input_tile(writer: Writer, integer: IntegerLayer, plan: MacPlan, source: Tensor) -> None:
    """Unpack the packed pixels into the padded tile, channels in the nest's order."""
    layer, tile = integer.layer, plan.input
    bits, zero = integer.inputs[0].bits, integer.inputs[0].zero_point
    height, width = image_size(source)
    top, left = layer.pads[:2]
    rows = max(0, min(height, tile.height - top))
    columns = max(0, min(width, tile.width - left))
    row = row_bytes(tile.channels, bits)
    if rows < tile.height or columns < tile.width:
        writer.line(f"memset(x, {zero}, {tile.size_bytes});")
    if rows == 0 or columns == 0:
        return
    channel_loops = _channel_loops(plan)
    with writer.loop("h", rows), writer.loop("v", columns):
        writer.line(f"const uint8_t *from = input + (h*{width} + v)*{row};")
        writer.line(f"uint8_t *to = x + ((h + {top})*{tile.width} + v + {left})*{tile.channels};")
        if not tile.permuted:
            writer.line(f"qmc_unpack(to, from, {tile.channels}, {bits});")
            return
        writer.line(f"qmc_unpack(pixel, from, {tile.channels}, {bits});")
        order = walks(channel_loops, {"x": plan.x, "channel": _channels(layer.bounds.C, plan)})
        with ExitStack() as stack:
            open_walks(writer, stack, order)
            target, origin = linear(offset(order, "x")), linear(offset(order, "channel"))
            writer.line(f"to[{target}] = pixel[{origin}];")


def _channel_loops(plan: MacPlan) -> list[NestLoop]:
    loops = [loop for loop in plan.nest.loops if loop.dim in (LoopDim.G, LoopDim.C)]
    return sorted(loops, key=lambda loop: (loop.dim is LoopDim.C, -loop.step))


def _channels(per_group: int, plan: MacPlan) -> dict[str, int]:
    return {
        loop.index: loop.step * (per_group if loop.dim is LoopDim.G else 1)
        for loop in plan.nest.loops
        if loop.dim in (LoopDim.G, LoopDim.C)
    }


def _print_fetch(writer: Writer, integer: IntegerLayer, plan: MacPlan, weights: str) -> None:
    bits = integer.weight_bits
    assert bits is not None
    tile = row_bytes(plan.weight_count, bits)
    index = linear(list(plan.weight_tile.items()))
    writer.line(
        f"qmc_unpack_signed(w, {weights}_weights + ({index})*{tile}, {plan.weight_count}, {bits});"
    )


def _print_body(writer: Writer, plan: MacPlan) -> None:
    """One step of the array: every PE does one multiply-accumulate."""
    arrays = {"acc": plan.acc, "w": plan.w, "x": plan.x}
    inside = {
        "acc": plan.nest.temporal[plan.cut :],
        "w": plan.nest.temporal[plan.fetch :],
        "x": plan.nest.temporal,
    }
    kinds = {"acc": "int32_t *restrict", "w": "const int8_t *restrict", "x": "const uint8_t *"}
    for array, kind in kinds.items():
        base = walks(inside[array], {array: arrays[array]})
        terms = [(loop.index, arrays[array].get(loop.index, 0)) for loop in inside[array]]
        del base
        writer.line(f"{kind} {array}_step = {array} + {linear(terms)};".replace("* ", "*"))
    outer, vector, inner = (walks(loops, arrays) for loops in (plan.outer, plan.vector, plan.inner))
    at = {
        array: linear([term for part in (outer, vector, inner) for term in offset(part, array)])
        for array in arrays
    }
    with ExitStack() as stack:
        open_walks(writer, stack, outer)
        is_sum = bool(inner) or (bool(vector) and vector[-1].stride("acc") == 0)
        product = f"w_step[{at['w']}] * x_step[{at['x']}]"
        if not is_sum:
            open_walks(writer, stack, vector)
            writer.line(f"acc_step[{at['acc']}] += {product};")
            return
        if inner:
            open_walks(writer, stack, vector)
        with writer.block(""):
            writer.line(f"int32_t sum = acc_step[{at['acc']}];")
            with ExitStack() as sums:
                open_walks(writer, sums, inner or vector)
                writer.line(f"sum += {product};")
            writer.line(f"acc_step[{at['acc']}] = sum;")


def _print_requantization(
    writer: Writer, integer: IntegerLayer, plan: MacPlan, weights: str, output_row: int
) -> None:
    assert integer.requant is not None
    bounds = integer.layer.bounds
    channel, pixel = {}, {}
    for loop in plan.nest.loops:
        match loop.dim:
            case LoopDim.P:
                pixel[loop.index] = loop.step * bounds.Q
            case LoopDim.Q:
                pixel[loop.index] = loop.step
            case LoopDim.G:
                channel[loop.index] = loop.step * bounds.K
            case LoopDim.K:
                channel[loop.index] = loop.step
            case _:
                pass
    kept = [loop for loop in plan.nest.loops if loop.dim in RELEVANT[Operand.O]]
    outside = [loop for loop in plan.nest.temporal[: plan.cut] if loop in kept]
    tile = [loop for loop in kept if loop not in outside]
    order = "NPQGK"
    tile.sort(key=lambda loop: (order.index(loop.dim), -loop.step))
    loops = walks(tile, {"acc": plan.acc, "channel": channel, "pixel": pixel})
    at_channel = [(loop.index, channel.get(loop.index, 0)) for loop in outside]
    at_pixel = [(loop.index, pixel.get(loop.index, 0)) for loop in outside]
    with ExitStack() as stack:
        open_walks(writer, stack, loops)
        writer.line(f"int channel = {linear(at_channel + offset(loops, 'channel'))};")
        writer.line(f"int pixel_at = {linear(at_pixel + offset(loops, 'pixel'))};")
        writer.line(
            f"int32_t sum = acc[{linear(offset(loops, 'acc'))}] + {weights}_start[channel];"
        )
        function = _ROUNDING_FUNCTION[integer.requant.rounding]
        writer.line(
            f"int64_t code = {function}(sum, {weights}_multiplier[channel], "
            f"{weights}_shift[channel]) + {weights}_offset[channel];"
        )
        writer.line(
            f"qmc_put(output + pixel_at*{output_row}, channel, "
            f"qmc_clamp(code, {integer.low}, {integer.high}), {integer.output.bits});"
        )
