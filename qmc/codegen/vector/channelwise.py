"""Layers without weights: additions, concatenations, tables, pools and plain copies, on bytes.

Loops over bytes are written so that a C compiler makes vectors of them; only the addition needs
instructions of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qmc.arithmetic import Rescale
from qmc.codegen.constants import Constant
from qmc.codegen.input_tile import image_size
from qmc.codegen.vector.sources import VectorLayer, close_result, open_result, read_bytes
from qmc.codegen.writer import linear
from qmc.integer import IntegerLayer
from qmc.layer import Op

#: Bits of the low factors of a split multiplier; the high ones then fit 16 bits, signed.
_LOW_BITS = 9
_INT32 = 1 << 31


def fits_add(integer: IntegerLayer) -> bool:
    """Whether both halves of the split sum stay in 32 bits; docs/vector-kernels.md."""
    first, second = integer.rescales
    high = (first.offset + second.offset) >> _LOW_BITS
    most = max(params.high for params in integer.inputs)
    factors = (first.multiplier, second.multiplier)
    reach = sum(factor >> _LOW_BITS for factor in factors) * most
    return (
        all(0 <= factor < 1 << 24 for factor in factors)
        and _LOW_BITS <= first.shift < _LOW_BITS + 31
        and -_INT32 < high
        and high + reach + (1 << 10) < _INT32
    )


def print_add(layer: VectorLayer) -> tuple[Constant, ...]:
    """``out = clip((ma*a + mb*b + o) >> s)`` over all elements."""
    first, second = layer.integer.rescales
    a, b = (read_bytes(layer, index, f"input{index}", False) for index in (0, 1))
    target = open_result(layer)
    factors = [
        (second.multiplier >> _LOW_BITS << 16) + (first.multiplier >> _LOW_BITS),
        ((second.multiplier & 511) << 16) + (first.multiplier & 511),
    ]
    offset = first.offset + second.offset
    values = [*factors, offset >> _LOW_BITS, offset & 511, first.shift - _LOW_BITS]
    layer.writer.line(
        f"const struct qmc_sum sum = {{{', '.join(str(value) for value in values)}}};"
    )
    layer.writer.line(f"qmc_add({target}, {a}, {b}, {layer.result.size}, sum, {layer.clip});")
    close_result(layer)
    return ()


def print_concat(layer: VectorLayer) -> tuple[Constant, ...]:
    """Channels side by side; a part with another quantization goes through a table."""
    writer, result = layer.writer, layer.result
    inputs = range(len(layer.integer.inputs))
    places = [read_bytes(layer, index, f"input{index}", False) for index in inputs]
    target = open_result(layer)
    tables = [_rescale_table(layer.integer, index) for index in inputs]
    with writer.loop("v", result.pixels):
        first = 0
        for index, (place, table) in enumerate(zip(places, tables, strict=True)):
            channels = layer.source(index).channels
            out, source = f"{target} + v*{result.channels} + {first}", f"{place} + v*{channels}"
            if _is_identity(table):
                writer.line(f"memcpy({out}, {source}, {channels});")
            else:
                name = f"{layer.prefix}_table{index}"
                writer.line(f"qmc_look_up({out}, {source}, {channels}, {name});")
            first += channels
    close_result(layer)
    return tuple(
        Constant(f"{layer.prefix}_table{index}", "uint8_t", table)
        for index, table in enumerate(tables)
        if not _is_identity(table)
    )


def _rescale_table(integer: IntegerLayer, index: int) -> NDArray[np.uint8]:
    """Output code by input code."""
    rescale: Rescale = integer.rescales[index]
    codes = np.arange(integer.inputs[index].high + 1, dtype=np.int64)
    rescaled = (rescale.multiplier * codes + rescale.offset) >> rescale.shift
    table: NDArray[np.uint8] = np.clip(rescaled, integer.low, integer.high).astype(np.uint8)
    return table


def _is_identity(table: NDArray[np.uint8]) -> bool:
    return bool(np.array_equal(table, np.arange(len(table))))


def print_lookup(layer: VectorLayer) -> tuple[Constant, ...]:
    """One table for all elements."""
    table = layer.integer.table
    assert table is not None
    place = read_bytes(layer, 0, "input0", False)
    target = open_result(layer)
    layer.writer.line(f"qmc_look_up({target}, {place}, {layer.result.size}, {layer.prefix}_table);")
    close_result(layer)
    return (Constant(f"{layer.prefix}_table", "uint8_t", table.astype(np.uint8)),)


def print_pool(layer: VectorLayer) -> tuple[Constant, ...]:
    """Pixel by pixel, all channels at once."""
    integer, writer, channels = layer.integer, layer.writer, layer.result.channels
    bounds = integer.layer.bounds
    is_max = integer.layer.op is Op.MAX_POOL
    place = read_bytes(layer, 0, "input0", False)
    is_wide = integer.output.bits > 8
    target = "output" if is_wide else open_result(layer)
    if not is_max:
        layer.scratch.add("sum", "int32_t", channels)
    with writer.loop("p", bounds.P), writer.loop("q", bounds.Q):
        writer.line(f"uint8_t *const out = {target} + (p*{bounds.Q} + q)*{channels << is_wide};")
        if is_max:
            writer.line(f"memset(out, {integer.low}, {channels});")
        else:
            writer.line(f"memset(sum, 0, {channels} * sizeof(int32_t));")
        if len(integer.counts) > 1:
            writer.line("int count = 0;")
        _print_window(layer, place)
        if is_max and integer.high < integer.output.high:
            writer.line(f"qmc_limit(out, {channels}, {integer.high});")
        if not is_max:
            _print_averages(layer)
    if not is_wide:
        close_result(layer)
    return ()


def _print_window(layer: VectorLayer, place: str) -> None:
    """The elements under a window; outside the image they count only if the layer says so."""
    integer, writer, channels = layer.integer, layer.writer, layer.result.channels
    spec = integer.layer
    height, width = image_size(layer.source())
    is_max = spec.op is Op.MAX_POOL
    with writer.loop("r", spec.bounds.R), writer.loop("s", spec.bounds.S):
        for name, index, tap, axis in (("h", "p", "r", 0), ("w", "q", "s", 1)):
            at = linear([(index, spec.strides[axis]), (tap, spec.dilations[axis])])
            writer.line(f"const int {name} = {at} - {spec.pads[axis]};")
        with writer.block(f"if (h < 0 || h >= {height} || w < 0 || w >= {width})"):
            if spec.count_include_pad and not is_max:
                with writer.loop("c", channels):
                    writer.line(f"sum[c] += {integer.inputs[0].zero_point};")
            writer.line("continue;")
        if len(integer.counts) > 1:
            writer.line("count++;")
        function = "qmc_larger(out" if is_max else "qmc_accumulate(sum"
        writer.line(f"{function}, {place} + (h*{width} + w)*{channels}, {channels});")


def _print_averages(layer: VectorLayer) -> None:
    """The rescale of the window's count."""
    integer, writer, channels = layer.integer, layer.writer, layer.result.channels
    for count, scale in zip(integer.counts, integer.rescales, strict=True):
        call = (
            f"qmc_average(out, sum, {channels}, {scale.multiplier}, INT64_C({scale.offset}), "
            f"{scale.shift}, {layer.clip}, {max(8, integer.output.bits)});"
        )
        if len(integer.counts) == 1:
            writer.line(call)
        else:
            with writer.block(f"if (count == {count})"):
                writer.line(call)


def fits_copy(layer: VectorLayer) -> bool:
    """Whether a reshape leaves every byte where it is."""
    spec = layer.integer.layer
    is_vector = layer.source().pixels == 1 and layer.result.pixels == 1
    return spec.perm is None and is_vector


def print_copy(layer: VectorLayer) -> tuple[Constant, ...]:
    """A reshape of one pixel to one pixel: the packed bytes as they are."""
    size = layer.network.tensors[layer.integer.layer.output].size
    bits = layer.integer.output.bits
    layer.writer.line(f"memcpy(output, input0, {(size * bits + 7) // 8});")
    return ()
