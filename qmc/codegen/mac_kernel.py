"""The C function of a CONV or DENSE layer: its loops are the mapping's.

::

    loops in time down to the cut         over output tiles
        clear the accumulators
        loops in time below the cut       in the mapping's order
            unpack and pad an input tile  somewhere between the loops (mac_input.py)
            unpack a weight tile          likewise, sub-byte weights only
            loops in space                one step of the array
        requantize, clamp and pack        (mac_output.py)
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from qmc.codegen.mac_input import needs_pixel, print_input_tile
from qmc.codegen.mac_output import print_output_constants, print_output_tile
from qmc.codegen.mac_plan import MacPlan
from qmc.codegen.scratch import Scratch
from qmc.codegen.walk import Walk, offset, open_walks, steps_in_cut, walks
from qmc.codegen.writer import Writer, linear
from qmc.integer import IntegerLayer
from qmc.network import Tensor
from qmc.packing import row_bytes


@dataclass(frozen=True, slots=True, eq=False)
class MacKernel:
    """What the printer of one kernel needs.

    Attributes:
        integer: the layer.
        plan: its loops and layouts.
        source: its input tensor.
        prefix: of its constant arrays.
        steps: depths at which the access counter is told the state of the loops.
    """

    integer: IntegerLayer
    plan: MacPlan
    source: Tensor
    prefix: str
    steps: frozenset[int]


def mac_scratch(kernel: MacKernel) -> Scratch:
    """Scratch memory of the kernel: accumulators, weight tile, input tile, one unpacked pixel."""
    plan = kernel.plan
    scratch = Scratch()
    scratch.add("acc", "int32_t", plan.acc_count)
    if plan.unpack_weights:
        scratch.add("w", "int8_t", plan.weight_count)
    if not plan.input.direct:
        scratch.add("x", "uint8_t", plan.input.size_bytes)
    if needs_pixel(kernel.integer, plan, kernel.source):
        scratch.add("pixel", "uint8_t", kernel.source.channels)
    return scratch


def print_mac(writer: Writer, kernel: MacKernel) -> None:
    """Print the body of the kernel."""
    integer, plan = kernel.integer, kernel.plan
    bounds = integer.layer.bounds
    if plan.input.direct:
        writer.line("const uint8_t *const x = input;")
    if not plan.unpack_weights:
        writer.line(f"const int8_t *const w = {kernel.prefix}_weights;")
    print_output_constants(writer, kernel.prefix)
    if integer.output.bits < 8:
        size = bounds.P * bounds.Q * row_bytes(bounds.G * bounds.K, integer.output.bits)
        writer.line(f"memset(output, 0, {size});")
    _print_loops(writer, kernel, 0)
    writer.line("DONE();")


def _print_loops(writer: Writer, kernel: MacKernel, depth: int) -> None:
    """The loops in time from ``depth`` inwards, with what happens before and after them."""
    plan, temporal = kernel.plan, kernel.plan.nest.temporal
    if depth == plan.cut:
        writer.line(f"memset(acc, 0, {plan.acc_count} * sizeof(int32_t));")
    if depth == plan.input.load and not plan.input.direct:
        print_input_tile(writer, kernel.integer, plan, kernel.source)
    if depth == plan.fetch and plan.unpack_weights:
        _print_fetch(writer, kernel)
    if depth in kernel.steps:
        indices = ", ".join(loop.index for loop in temporal[:depth]) or "0"
        writer.line(f"STEP({depth}, {indices});")
    if depth == len(temporal):
        _print_step(writer, plan)
    else:
        loop = temporal[depth]
        is_new = depth == 0 or temporal[depth - 1].level != loop.level
        level, steps = loop.level if is_new else "", steps_in_cut(loop, temporal[:depth])
        with writer.loop(loop.index, loop.extent, level, steps):
            _print_loops(writer, kernel, depth + 1)
    if depth == plan.cut:
        print_output_tile(writer, kernel.integer, plan)


def _print_fetch(writer: Writer, kernel: MacKernel) -> None:
    plan, bits = kernel.plan, kernel.integer.weight_bits
    assert bits is not None
    place = f"{kernel.prefix}_weights"
    if plan.weight_tile:
        index = linear(list(plan.weight_tile.items()))
        place += f" + ({index})*{row_bytes(plan.weight_count, bits)}"
    if kernel.integer.weight_format is None:
        writer.line(f"qmc_unpack_signed(w, {place}, {plan.weight_count}, {bits});")
    else:
        numbers = f"{kernel.prefix}_numbers"
        writer.line(f"qmc_unpack_numbers(w, {place}, {plan.weight_count}, {bits}, {numbers});")


def _print_step(writer: Writer, plan: MacPlan) -> None:
    """One step of the array: every PE does one multiply-accumulate."""
    arrays = {"acc": plan.acc, "w": plan.w, "x": plan.input.strides}
    outside = plan.nest.temporal
    parts: list[tuple[Walk, ...]] = []
    for loops in (plan.outer, plan.vector, plan.inner):
        parts.append(walks(loops, arrays, outside))
        outside += loops
    _print_step_pointers(writer, plan)
    at = {
        array: linear([term for part in parts for term in offset(part, array)]) for array in arrays
    }
    target, product = f"acc_step[{at['acc']}]", f"w_step[{at['w']}] * x_step[{at['x']}]"
    outer, vector, inner = parts
    if not inner and vector and vector[-1].stride("acc") == 0:
        vector, inner = (), vector
    with ExitStack() as stack:
        open_walks(writer, stack, outer + vector)
        _print_sum(writer, target, product, inner)


def _print_sum(writer: Writer, target: str, product: str, loops: tuple[Walk, ...]) -> None:
    if not loops:
        writer.line(f"{target} += {product};")
        return
    writer.line(f"int32_t sum = {target};")
    with ExitStack() as stack:
        open_walks(writer, stack, loops)
        writer.line(f"sum += {product};")
    writer.line(f"{target} = sum;")


def _print_step_pointers(writer: Writer, plan: MacPlan) -> None:
    """Where the step's operands begin; the loops in space add constant offsets."""
    temporal = plan.nest.temporal
    for kind, array, strides, loops in (
        ("int32_t *restrict", "acc", plan.acc, temporal[plan.cut :]),
        ("const int8_t *restrict", "w", plan.w, temporal[plan.fetch :]),
        ("const uint8_t *restrict", "x", plan.input.strides, temporal[plan.input.load :]),
    ):
        start = linear([(loop.index, strides.get(loop.index, 0)) for loop in loops])
        place = array if start == "0" else f"{array} + {start}"
        writer.line(f"{kind} {array}_step = {place};")
