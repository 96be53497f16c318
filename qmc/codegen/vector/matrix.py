"""Convolutions and dense layers as matrix products: blocks of pixels x vectors of output channels.

::

    strips of output rows                 only with padding: a strip of padded input is made
        groups
            blocks of output channels     inside the pixels where all weights fit the L1 cache
                unpack their weights      below 8 bits
                rows, blocks of pixels    qmc_matrix: products, requantization and store

A pixel's products are runs of neighbouring bytes: with channels last and without dilation one run
for each row of the window. The product over a run is exact because weights beyond its end are zero.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.constants import Constant
from qmc.codegen.input_tile import image_size
from qmc.codegen.vector.blocks import (
    ChannelBlocks,
    block_count,
    block_size,
    block_start,
    channel_blocks,
    vectors_of_blocks,
)
from qmc.codegen.vector.geometry import Geometry, gathered, plan_geometry
from qmc.codegen.vector.knobs import Outside, Unpack
from qmc.codegen.vector.order import block_order
from qmc.codegen.vector.panels import constants_at, print_unpack, requant_constants
from qmc.codegen.vector.requant import ROUNDINGS, Form, VectorRequant, vector_requant
from qmc.codegen.vector.sources import (
    VectorLayer,
    close_result,
    open_result,
    read_bytes,
)
from qmc.codegen.vector.weights import matrix_panel, pack_planes
from qmc.codegen.writer import linear
from qmc.packing import row_bytes
from qmc.targets import KernelFamily

#: Pixels from which on it pays to widen weights beforehand.
_WIDE_PIXELS = 16
#: Several runs shorter than so many groups of bytes are copied together where weights lie in rows.
_SHORT_RUN = 4
#: Sums of products with weights times 2^(8 - bits) stay below 2^31 for so many inputs.
_MOST_CODES = 1 << 16
#: Widened panels above this many bytes leave the first-level cache: blocks get fewer channels.
_WIDE_PANEL = 24 << 10


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """Everything that the printer needs.

    Attributes:
        geometry: of the pixels.
        blocks: of the output channels of one group.
        panel_bytes: packed weights of one block, by entry of ``blocks``.
        requant: constants.
        pixels_outside: whether the loops over pixels run outside those over channels.
        unpack: which panels go through scratch memory to be unpacked or widened: none (""), "all"
            before anything else, or "each" in its turn.
        is_wide: whether weights are widened.
        runs: geometry of a block's pixels; not that of the input where their runs are gathered.
        is_column: whether weights lie input by input.
        reads_codes: whether the kernel of one pixel takes weights below 8 bits as they lie.
        is_spread: whether strips are widened, too: inputs are then loaded as they are multiplied.
    """

    geometry: Geometry
    blocks: tuple[ChannelBlocks, ...]
    panel_codes: tuple[int, ...]
    requant: VectorRequant
    pixels_outside: bool
    unpack: str
    is_wide: bool
    runs: Geometry
    is_column: bool = False
    reads_codes: bool = False
    is_spread: bool = False

    @property
    def gathers(self) -> bool:
        """Whether the runs under a pixel are copied together."""
        return self.runs.rows * self.runs.taps < self.geometry.rows * self.geometry.taps

    @property
    def scratch_bytes(self) -> int:
        """Bytes that a code takes in scratch memory."""
        return 2 if self.is_wide else 1


def plan_matrix(layer: VectorLayer) -> MatrixPlan:
    """Choose blocks and loop order of a CONV or DENSE layer."""
    integer, family, knobs = layer.integer, layer.family, layer.knobs
    bounds = integer.layer.bounds
    strip = knobs.strip_bytes
    geometry = replace(
        plan_geometry(
            integer, *image_size(layer.source()), strip or family.strip_bytes, bool(strip)
        ),
        run_bytes=family.run_bytes,
        tile_bytes=family.tile_bytes,
    )
    requant = vector_requant(integer, family)
    pixels = geometry.lines * geometry.pixels
    is_wide = family.widens and not requant.is_short and pixels >= _WIDE_PIXELS
    is_spread = is_wide and geometry.strip_rows > 0 and bounds.C % 4 == 0
    runs = _runs(geometry, family, 2 if is_spread else 1)
    is_column = runs.rows * runs.taps == 1 and runs.length <= family.columns
    run = runs.rows * runs.taps * runs.quads * family.vector_bytes
    most = vectors_of_blocks(family, bounds.K, geometry.pixels)
    if is_wide and 2 * run * most > _WIDE_PANEL:
        most = min(2, most)
    most = min(knobs.vectors, len(family.pixels)) if knobs.vectors else most
    blocks = channel_blocks(bounds.K, family.lanes, most)
    codes = tuple(run * block.vectors for block in blocks)
    group = sum(size * block.repeat for size, block in zip(codes, blocks, strict=True))
    is_small = group * bounds.G * (2 if is_wide else 1) <= family.panel_bytes
    reads_codes = not is_wide and pixels == 1 and _reads_codes(layer, runs)
    is_ready = reads_codes or (integer.weight_bits == 8 and not is_wide)
    pixels_outside = is_small if knobs.outside is Outside.DEFAULT else _pixels_outside(layer)
    pixels_outside = pixels_outside and pixels > 1
    return MatrixPlan(
        geometry,
        blocks,
        codes,
        requant,
        pixels_outside=pixels_outside,
        unpack="" if is_ready else "all" if pixels_outside else _unpack(layer, is_small),
        is_wide=is_wide,
        runs=runs,
        is_column=is_column,
        reads_codes=reads_codes,
        is_spread=is_spread,
    )


def _reads_codes(layer: VectorLayer, runs: Geometry) -> bool:
    """Whether one pixel's run and its weights fit ``qmc_matrix_of_codes``."""
    bits = layer.integer.weight_bits
    if not layer.family.reads_codes or bits not in (1, 2, 4):
        return False
    is_asked = layer.knobs.unpack is Unpack.DEFAULT
    is_one_run = runs.rows * runs.taps == 1 and runs.length <= _MOST_CODES
    return is_asked and is_one_run and runs.quads % (8 // bits) == 0


def _runs(geometry: Geometry, family: KernelFamily, input_bytes: int) -> Geometry:
    """How a kernel reads the runs under its pixels: short ones are gathered where that pays."""
    if input_bytes > 1:
        return replace(
            geometry,
            row_step=geometry.row_step * input_bytes,
            tap_step=geometry.tap_step * input_bytes,
            pixel_step=geometry.pixel_step * input_bytes,
            line_step=geometry.line_step * input_bytes,
        )
    is_short = geometry.length < _SHORT_RUN * family.run_bytes
    if family.panels == "rows" and is_short and geometry.rows * geometry.taps > 1:
        return gathered(geometry)
    return geometry


def _pixels_outside(layer: VectorLayer) -> bool:
    return layer.knobs.outside is Outside.PIXELS


def _unpack(layer: VectorLayer, is_small: bool) -> str:
    """When the panels are unpacked, where blocks of channels lie outside."""
    default = Unpack.ALL if is_small else Unpack.EACH
    return (default if layer.knobs.unpack is Unpack.DEFAULT else layer.knobs.unpack).value


def print_matrix(layer: VectorLayer) -> tuple[Constant, ...]:
    """Print the body of the kernel; returns its constants."""
    plan = plan_matrix(layer)
    place = _print_source(layer, plan)
    target = "output" if plan.requant.form is Form.RAW else open_result(layer)
    _print_preparation(layer, plan)
    with ExitStack() as stack:
        _open_strips(stack, layer, plan, place)
        if layer.integer.layer.bounds.G > 1:
            stack.enter_context(layer.writer.loop("g", layer.integer.layer.bounds.G))
        _print_blocks(layer, plan, target)
    if _has_tiles(layer, plan):
        layer.writer.line("qmc_close_matrix();")
    if plan.requant.form is not Form.RAW:
        close_result(layer)
    return _constants(layer, plan)


def _print_source(layer: VectorLayer, plan: MatrixPlan) -> str:
    """The input as bytes; a padded strip has its own bytes to be read beyond."""
    over_reads = plan.runs.over_reads and not plan.geometry.strip_rows and not plan.gathers
    place = read_bytes(layer, 0, "input", over_reads)
    if plan.geometry.strip_rows:
        layer.scratch.add("strip", "uint8_t", plan.geometry.strip_bytes)
        if plan.is_spread:
            layer.scratch.add("wide", "uint8_t", 2 * plan.geometry.strip_bytes)
    else:
        layer.writer.line(f"const uint8_t *const pixels = {place};")
    return place


def _print_preparation(layer: VectorLayer, plan: MatrixPlan) -> None:
    """Scratch arrays of weights and sums, and what is done once."""
    integer, writer = layer.integer, layer.writer
    groups = integer.layer.bounds.G
    wide = layer.family.vector_bytes if plan.is_wide else 0
    if plan.requant.form is Form.RAW:
        block = max(block.vectors * block_pixels(layer, plan, block) for block in plan.blocks)
        layer.scratch.add("sums", "int32_t", block * layer.family.lanes)
        size = layer.result.pixels * row_bytes(layer.result.channels, integer.output.bits)
        if integer.output.bits < 8:
            writer.line(f"memset(output, 0, {size});")
    if plan.gathers:
        most = max(block_pixels(layer, plan, block) for block in plan.blocks)
        layer.scratch.add("runs", "uint8_t", most * plan.runs.pixel_step)
    if not plan.unpack:
        kind = "uint8_t" if plan.reads_codes else "int8_t"
        writer.line(f"const {kind} *const w = {layer.prefix}_weights;")
        return
    codes = _group_codes(plan) * groups if plan.unpack == "all" else max(plan.panel_codes)
    layer.scratch.add("w", "int8_t", codes * plan.scratch_bytes)
    if plan.unpack == "all":
        for at, size, repeat in _panels(plan, groups):
            with writer.loop("n", repeat):
                place = f"({at} + n*{size})"
                print_unpack(layer, f"w + {place}*{plan.scratch_bytes}", place, size, wide)


def _panels(plan: MatrixPlan, groups: int) -> list[tuple[int, int, int]]:
    """Start, size and number of equal panels in a row, in codes."""
    panels, at = [], 0
    for _ in range(groups):
        for size, block in zip(plan.panel_codes, plan.blocks, strict=True):
            panels.append((at, size, block.repeat))
            at += size * block.repeat
    return panels


def _open_strips(stack: ExitStack, layer: VectorLayer, plan: MatrixPlan, place: str) -> None:
    """The loop over strips, and the variable ``pixels``: where the strip's first pixel lies."""
    geometry, writer, spec = plan.geometry, layer.writer, layer.integer.layer
    if not geometry.strip_rows:
        return
    height, width = image_size(layer.source())
    channels = layer.source().channels
    rows = (geometry.strip_rows - 1) * spec.strides[0] + (spec.bounds.R - 1) * spec.dilations[0] + 1
    top, left, _, right = spec.pads
    strips = block_count(spec.bounds.P, geometry.strip_rows)
    stack.enter_context(writer.loop("strip_index", strips))
    start = block_start("strip_index", spec.bounds.P, geometry.strip_rows)
    writer.line(f"const int top = {start};")
    writer.line(
        f"qmc_padded_rows(strip, {place}, top*{spec.strides[0]} - {top}, {rows}, {height}, "
        f"{width * channels}, {left * channels}, {right * channels}, "
        f"{layer.integer.inputs[0].zero_point});"
    )
    if plan.is_spread:
        size = rows * (width + left + right) * channels
        writer.line(f"qmc_widen_inputs(wide, strip, {size});")


def _print_blocks(layer: VectorLayer, plan: MatrixPlan, target: str) -> None:
    writer, groups = layer.writer, layer.integer.layer.bounds.G
    wide = layer.family.vector_bytes if plan.is_wide else 0
    if plan.pixels_outside:
        size = min(block_pixels(layer, plan, block) for block in plan.blocks)
        _print_shape(layer, plan, size)
        with ExitStack() as stack:
            _open_pixels(stack, layer, plan, size)
            _print_gather(layer, plan, size)
            for entry in range(len(plan.blocks)):
                with writer.loop("n", plan.blocks[entry].repeat):
                    _print_block(layer, plan, entry, size, target)
        return
    for entry, block in enumerate(plan.blocks):
        size = block_pixels(layer, plan, block)
        _print_shape(layer, plan, size)
        with writer.loop("n", block.repeat), ExitStack() as stack:
            if plan.unpack == "each":
                place = f"({_panel(plan, entry, groups)})"
                print_unpack(layer, "w", place, plan.panel_codes[entry], wide)
            _open_pixels(stack, layer, plan, size)
            _print_gather(layer, plan, size)
            _print_block(layer, plan, entry, size, target)


def _has_tiles(layer: VectorLayer, plan: MatrixPlan) -> bool:
    return layer.family.tile_bytes > 0 and not plan.reads_codes


def _print_shape(layer: VectorLayer, plan: MatrixPlan, size: int) -> None:
    """Shape the tiles for the blocks that follow."""
    if _has_tiles(layer, plan):
        layer.writer.line(f"qmc_open_matrix({size}, {plan.runs.quads});")


def block_pixels(layer: VectorLayer, plan: MatrixPlan, block: ChannelBlocks) -> int:
    """Pixels of a block."""
    chosen, widest = layer.knobs.pixels, max(b.vectors for b in plan.blocks)
    if chosen and block.vectors == widest:
        return min(chosen, plan.geometry.pixels)
    most = layer.family.pixels[block.vectors - 1]
    return block_size(plan.geometry.pixels, most, layer.family.block_cost)


def _open_pixels(stack: ExitStack, layer: VectorLayer, plan: MatrixPlan, size: int) -> None:
    geometry, writer = plan.geometry, layer.writer
    lines = geometry.strip_rows or geometry.lines
    stack.enter_context(writer.loop("p", lines))
    stack.enter_context(writer.loop("m", block_count(geometry.pixels, size)))
    writer.line(f"const int q = {block_start('m', geometry.pixels, size)};")


def _panel(plan: MatrixPlan, entry: int, groups: int) -> str:
    """Where the panel of block ``n`` of group ``g`` begins, in codes."""
    sizes = zip(plan.panel_codes[:entry], plan.blocks[:entry], strict=True)
    first = sum(size * block.repeat for size, block in sizes)
    return _place(groups, _group_codes(plan), plan.panel_codes[entry], first)


def _place(groups: int, group: int, block: int, first: int) -> str:
    """C expression of ``g * group + n * block + first``."""
    text = linear([("g", group if groups > 1 else 0), ("n", block)])
    return f"{text} + {first}" if first else text


def _group_codes(plan: MatrixPlan) -> int:
    return sum(
        size * block.repeat for size, block in zip(plan.panel_codes, plan.blocks, strict=True)
    )


def _print_gather(layer: VectorLayer, plan: MatrixPlan, size: int) -> None:
    """Copy the runs under each pixel of a block together."""
    geometry = plan.geometry
    if plan.gathers:
        layer.writer.lines(
            f"qmc_gather(runs, {plan.runs.pixel_step}, {size}, {_first_pixel(layer, plan)}, "
            f"{geometry.pixel_step},\n    {geometry.rows}, {geometry.row_step}, {geometry.taps}, "
            f"{geometry.tap_step}, {geometry.length});"
        )


def _first_pixel(layer: VectorLayer, plan: MatrixPlan) -> str:
    """Where the first pixel of a block lies."""
    geometry, bounds = plan.geometry, layer.integer.layer.bounds
    source = "wide" if plan.is_spread else "strip" if geometry.strip_rows else "pixels"
    factor = 2 if plan.is_spread else 1
    group = factor * bounds.C if bounds.G > 1 else 0
    steps = factor * geometry.line_step, factor * geometry.pixel_step
    place = linear([("p", steps[0]), ("q", steps[1]), ("g", group)])
    return f"{source} + {place}"


def _print_block(layer: VectorLayer, plan: MatrixPlan, entry: int, size: int, target: str) -> None:
    """One call of the micro-kernel."""
    integer, geometry, block = layer.integer, plan.geometry, plan.blocks[entry]
    bounds, lanes, name = integer.layer.bounds, layer.family.lanes, layer.prefix
    vectors, is_raw = block.vectors, plan.requant.form is Form.RAW
    column, spread = " | QMC_BY_INPUT" * plan.is_column, " | QMC_SPREAD" * plan.is_spread
    runs, place = plan.runs, "runs" if plan.gathers else _first_pixel(layer, plan)
    line = "(top + p)" if geometry.strip_rows else "p"
    places = sum(b.vectors * b.repeat for b in plan.blocks) * lanes
    first = _place(bounds.G, places, vectors * lanes, block.first)
    channel = _place(bounds.G, bounds.K, vectors * lanes, block.first)
    step = row_bytes(bounds.G * bounds.K, integer.output.bits) if is_raw else bounds.G * bounds.K
    pixel = f"{target} + ({line}*{geometry.pixels} + q)*{step}"
    weights = "w"
    if plan.unpack != "each":
        factor = f"*{plan.scratch_bytes}" if plan.is_wide else ""
        weights = f"w + ({_panel(plan, entry, bounds.G)}){factor}"
    shape = (
        f"{size}, {vectors}, {runs.rows}, {runs.row_step}, {runs.taps}, {runs.tap_step}, "
        f"{runs.quads},\n    {place}, {runs.pixel_step}, {weights}"
    )
    function, out_step = "qmc_matrix", f" {step},"
    if plan.reads_codes:
        bits = integer.weight_bits
        function, out_step = "qmc_matrix_of_codes", ""
        shape = f"{bits}, {vectors}, {runs.quads},\n    {place}, {weights}/8*{bits}"
    layer.writer.lines(
        f"{function}({shape},\n    {constants_at(layer, plan.requant, first)},\n"
        f"    {pixel} + {channel},{out_step} {'sums' if is_raw else '0'}, {block.count}, "
        f"{plan.requant.flags(plan.is_wide)}{spread}{_ahead(layer, plan)}{column}, {layer.clip});"
    )
    if is_raw:
        assert integer.requant is not None
        layer.writer.lines(
            f"qmc_requantize({pixel}, {step}, {channel}, sums, {vectors * lanes}, {size}, "
            f"{block.count},\n    {name}_multiplier, {name}_offset, {name}_shift, "
            f"{ROUNDINGS[integer.requant.rounding]}, {layer.clip}, {integer.output.bits}, 0);"
        )


def _ahead(layer: VectorLayer, plan: MatrixPlan) -> str:
    """The flag by which weights are fetched ahead; those in scratch memory are there already."""
    kib = layer.knobs.prefetch_kib
    return f" | QMC_AHEAD({kib})" if kib and not plan.unpack else ""


def _constants(layer: VectorLayer, plan: MatrixPlan) -> tuple[Constant, ...]:
    """Weights and requantization constants in the order of the blocks."""
    integer, lanes, runs = layer.integer, layer.family.lanes, plan.runs
    bounds, bits = integer.layer.bounds, integer.weight_bits
    assert integer.weights is not None
    assert bits is not None
    weights = integer.weights.transpose(0, 2, 3, 1).reshape(
        bounds.G, bounds.K, runs.rows * runs.taps, runs.length
    )
    is_raw = plan.requant.form is Form.RAW
    panels: list[NDArray[np.integer]] = []
    places: list[NDArray[np.int64]] = []
    for group in range(bounds.G):
        for block in plan.blocks:
            order = block_order(block.vectors, lanes, layer.family.panels, is_raw)
            for index in range(block.repeat):
                begin = block.first + index * block.vectors * lanes
                part = weights[group, begin : begin + block.count]
                panels_of = "columns" if plan.is_column else layer.family.panels
                panel = matrix_panel(part, order, lanes, runs.quads, panels_of)
                panels.append(pack_planes(panel, bits))
                inside = order < block.count
                places.append(np.where(inside, group * bounds.K + begin + order, -1))
    return (
        Constant(
            f"{layer.prefix}_weights",
            "int8_t" if bits == 8 else "uint8_t",
            np.concatenate(panels),
            layer.family.alignment,
        ),
        *requant_constants(layer, plan.requant, np.concatenate(places)),
    )
