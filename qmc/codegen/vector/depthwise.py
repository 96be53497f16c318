"""Depthwise convolutions: rows of pixels, block by block of channels.

::

    output rows                       row[r]: where row r of the window lies, or a margin row
        blocks of channels            vectors of several widths, the widest first
            blocks of pixels          qmc_depthwise: dot products of four rows at a time

Padding is never copied: rows outside the image are a row of zero points, columns outside it are
read from there too, by blocks at the edge only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.codegen.constants import Constant
from qmc.codegen.input_tile import image_size
from qmc.codegen.vector.blocks import block_count, block_size, block_start
from qmc.codegen.vector.knobs import Outside
from qmc.codegen.vector.order import depthwise_order
from qmc.codegen.vector.panels import constants_at, print_unpack, requant_constants
from qmc.codegen.vector.requant import ROUNDINGS, Form, VectorRequant, vector_requant
from qmc.codegen.vector.sources import (
    OVER_READ,
    VectorLayer,
    close_result,
    open_result,
    read_bytes,
)
from qmc.codegen.vector.weights import depthwise_panel, depthwise_rows, pack_planes
from qmc.integer import IntegerLayer
from qmc.packing import row_bytes

#: What block_depthwise.h unrolls: columns under a block, and rows of a window.
_MOST_COLUMNS = 16
_MOST_ROWS = 8


def fits_depthwise(integer: IntegerLayer) -> bool:
    """Whether the kernel can compute the layer: one output per channel, a window not too large."""
    layer, bounds = integer.layer, integer.layer.bounds
    reach = (bounds.S - 1) * layer.dilations[1] + 1
    return (
        layer.is_depthwise and bounds.K == 1 and bounds.R <= _MOST_ROWS and reach <= _MOST_COLUMNS
    )


def depthwise_pixels(layer: VectorLayer) -> int:
    """Pixels of a block: as many as the unrolled columns and the output row allow."""
    spec = layer.integer.layer
    reach = (spec.bounds.S - 1) * spec.dilations[1] + 1
    most = (_MOST_COLUMNS - reach) // spec.strides[1] + 1
    most = min(most, spec.bounds.Q)
    if layer.knobs.pixels:
        return min(layer.knobs.pixels, most)
    return block_size(spec.bounds.Q, min(most, layer.family.depthwise_pixels))


def depthwise_blocks(layer: VectorLayer) -> list[tuple[int, int, int, int]]:
    """Width of the vectors, first channel, channels stored and number of equal blocks."""
    blocks, at, channels = [], 0, layer.source().channels
    widest = layer.knobs.widest or layer.family.depthwise_bytes[0]
    for width in layer.family.depthwise_bytes:
        if width > widest:
            continue
        repeat = (channels - at) // width
        if repeat:
            blocks.append((width, at, width, repeat))
            at += width * repeat
    if at < channels:
        blocks.append((layer.family.depthwise_bytes[-1], at, channels - at, 1))
    return blocks


def print_depthwise(layer: VectorLayer) -> tuple[Constant, ...]:
    """Print the body of the kernel; returns its constants."""
    integer, writer, spec = layer.integer, layer.writer, layer.integer.layer
    requant = vector_requant(integer, layer.family)
    channels = layer.source().channels
    over_reads = channels % layer.family.depthwise_bytes[-1] != 0
    place = read_bytes(layer, 0, "input", over_reads)
    is_raw = requant.form is Form.RAW
    target = "output" if is_raw else open_result(layer)
    _print_preparation(layer, requant)
    if layer.knobs.outside is Outside.CHANNELS:
        for block, repeat in _placed_blocks(layer):
            with writer.loop("n", repeat), writer.loop("p", spec.bounds.P):
                _print_rows(layer, place)
                with writer.loop("m", _blocks(layer)):
                    _print_block(layer, requant, target, block)
    else:
        with writer.loop("p", spec.bounds.P):
            _print_rows(layer, place)
            for block, repeat in _placed_blocks(layer):
                with writer.loop("n", repeat), writer.loop("m", _blocks(layer)):
                    _print_block(layer, requant, target, block)
    if not is_raw:
        close_result(layer)
    return _constants(layer, requant)


def _placed_blocks(layer: VectorLayer) -> list[tuple[tuple[int, int, int, int], int]]:
    """Width, first channel, channels stored and first code of blocks, and how many are equal."""
    at, placed = 0, []
    for width, first, count, repeat in depthwise_blocks(layer):
        placed.append(((width, first, count, at), repeat))
        at += _block_codes(layer, width) * repeat
    return placed


def _blocks(layer: VectorLayer) -> int:
    return block_count(layer.integer.layer.bounds.Q, depthwise_pixels(layer))


def _block_codes(layer: VectorLayer, width: int) -> int:
    """Codes of a panel: rows padded to quads."""
    bounds = layer.integer.layer.bounds
    return _padded_rows(layer) * bounds.S * width


def _padded_rows(layer: VectorLayer) -> int:
    """Rows of the window, those that fill up the last quad included."""
    rows = layer.integer.layer.bounds.R
    return rows if layer.family.panels == "rows" else -(-rows // 4) * 4


def _is_wide(layer: VectorLayer, requant: VectorRequant) -> bool:
    return layer.family.widens and not requant.is_short


def _print_preparation(layer: VectorLayer, requant: VectorRequant) -> None:
    is_raw = requant.form is Form.RAW
    integer, writer, spec = layer.integer, layer.writer, layer.integer.layer
    bits, channels = integer.weight_bits, layer.source().channels
    _, width = image_size(layer.source())
    if any(spec.pads):
        size = channels * (width if spec.pads[0] or spec.pads[2] else 1) + OVER_READ
        layer.scratch.add("margin", "uint8_t", size)
        writer.line(f"memset(margin, {integer.inputs[0].zero_point}, {size});")
    if is_raw:
        layer.scratch.add(
            "sums", "int32_t", depthwise_pixels(layer) * layer.family.depthwise_bytes[0]
        )
        if integer.output.bits < 8:
            size = layer.result.pixels * row_bytes(channels, integer.output.bits)
            writer.line(f"memset(output, 0, {size});")
    is_wide = _is_wide(layer, requant)
    if bits == 8 and not is_wide:
        writer.line(f"const int8_t *const w = {layer.prefix}_weights;")
        return
    factor = 2 if is_wide else 1
    codes = sum(
        _block_codes(layer, width) * repeat for width, _, _, repeat in depthwise_blocks(layer)
    )
    layer.scratch.add("w", "int8_t", codes * factor)
    at = 0
    for width, _, _, repeat in depthwise_blocks(layer):
        size = _block_codes(layer, width)
        with writer.loop("n", repeat):
            place = f"({at} + n*{size})"
            print_unpack(layer, f"w + {place}*{factor}", place, size, width if is_wide else 0)
        at += size * repeat


def _print_rows(layer: VectorLayer, place: str) -> None:
    """``row[r]`` for every row of the window, and any row to fill up the last quad."""
    writer, spec = layer.writer, layer.integer.layer
    height, width = image_size(layer.source())
    rows, padded = spec.bounds.R, _padded_rows(layer)
    writer.line(f"const uint8_t *row[{padded}];")
    with writer.loop("r", padded):
        tap = "r" if rows == padded else f"(r < {rows} ? r : 0)"
        writer.line(
            f"const int h = p*{spec.strides[0]} + {tap}*{spec.dilations[0]} - {spec.pads[0]};"
        )
        inside = f"{place} + h*{width * layer.source().channels}"
        if spec.pads[0] or spec.pads[2]:
            inside = f"h < 0 || h >= {height} ? margin : {inside}"
        writer.line(f"row[r] = {inside};")


def _print_block(
    layer: VectorLayer,
    requant: VectorRequant,
    target: str,
    block: tuple[int, int, int, int],
) -> None:
    """One call of the micro-kernel, or two: blocks at the edge check their columns."""
    integer, writer, spec = layer.integer, layer.writer, layer.integer.layer
    pixels = depthwise_pixels(layer)
    _, columns = image_size(layer.source())
    reach = (pixels - 1) * spec.strides[1] + (spec.bounds.S - 1) * spec.dilations[1] + 1
    writer.line(f"const int q = {block_start('m', spec.bounds.Q, pixels)};")
    writer.line(f"const int left = q*{spec.strides[1]} - {spec.pads[1]};")
    if spec.pads[1] or spec.pads[3]:
        with writer.block(f"if (QMC_LIKELY(left >= 0 && left <= {columns - reach}))"):
            _print_call(layer, requant, target, block, checked=False)
        with writer.block("else"):
            _print_call(layer, requant, target, block, checked=True)
    else:
        _print_call(layer, requant, target, block, checked=False)
    if requant.form is Form.RAW:
        width, first, count, _ = block
        bits, channels = integer.output.bits, layer.source().channels
        step = row_bytes(channels, bits)
        name = layer.prefix
        quads = 0 if layer.family.panels == "rows" else width
        assert integer.requant is not None
        writer.lines(
            f"qmc_requantize(output + (p*{spec.bounds.Q} + q)*{step}, {step}, "
            f"{first} + n*{width}, sums, {width}, {pixels}, {count},\n"
            f"    {name}_multiplier, {name}_offset, {name}_shift, "
            f"{ROUNDINGS[integer.requant.rounding]}, {layer.clip}, {bits}, {quads});"
        )


def _print_call(
    layer: VectorLayer,
    requant: VectorRequant,
    target: str,
    block: tuple[int, int, int, int],
    checked: bool,
) -> None:
    spec = layer.integer.layer
    width, first, count, at = block
    channels = layer.source().channels
    _, columns = image_size(layer.source())
    is_raw = requant.form is Form.RAW
    step = row_bytes(channels, layer.integer.output.bits) if is_raw else channels
    codes = _block_codes(layer, width)
    is_wide = _is_wide(layer, requant)
    layer.writer.lines(
        f"qmc_depthwise_{width}({depthwise_pixels(layer)}, {spec.bounds.R}, {spec.bounds.S}, "
        f"{spec.strides[1]}, {spec.dilations[1]}, {int(checked)},\n"
        f"    row, {first} + n*{width}, left, {columns}, {'margin' if checked else 'row[0]'}, "
        f"{channels}, w + ({at} + n*{codes}){'*2' if is_wide else ''},\n"
        f"    {constants_at(layer, requant, f'{first} + n*{width}')},\n"
        f"    {target} + (p*{spec.bounds.Q} + q)*{step} + {first} + n*{width}, {step}, "
        f"{'sums' if is_raw else '0'}, {count}, {requant.flags(is_wide)}, {layer.clip});"
    )


def _constants(layer: VectorLayer, requant: VectorRequant) -> tuple[Constant, ...]:
    integer, bits = layer.integer, layer.integer.weight_bits
    assert integer.weights is not None
    assert bits is not None
    panels: list[NDArray[np.integer]] = []
    places: list[NDArray[np.int64]] = []
    for width, first, count, repeat in depthwise_blocks(layer):
        is_natural = layer.family.panels == "rows"
        order = np.arange(width) if is_natural else depthwise_order(width // 4)
        for index in range(repeat):
            begin = first + index * width
            part = integer.weights[begin : begin + count, 0]
            codes = depthwise_rows(part, width) if is_natural else depthwise_panel(part, width // 4)
            panels.append(pack_planes(codes, bits))
            places.append(np.where(order < count, begin + order, -1))
    kind = "int8_t" if bits == 8 else "uint8_t"
    return (
        Constant(f"{layer.prefix}_weights", kind, np.concatenate(panels), layer.family.alignment),
        *requant_constants(layer, requant, np.concatenate(places)),
    )
