"""All ways to build the kernel of one layer that may be worth a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from qmc.codegen.input_tile import image_size
from qmc.codegen.vector.blocks import block_count
from qmc.codegen.vector.depthwise import fits_depthwise
from qmc.codegen.vector.geometry import plan_geometry
from qmc.codegen.vector.kernel import choose_printer
from qmc.codegen.vector.knobs import MOST_PIXELS, NO_KNOBS, Knobs, Outside, Unpack
from qmc.codegen.vector.matrix import MatrixPlan, plan_matrix, print_matrix
from qmc.codegen.vector.sources import VectorLayer
from qmc.targets import KernelFamily

#: Sizes of padded strips; the last is larger than any image and means one strip.
STRIPS = (8 << 10, 16 << 10, 32 << 10, 64 << 10, 1 << 30)
#: How far ahead weights are fetched: measured to help on x86 where weights come from L3.
AHEAD_KIB = (4, 16)
#: Pixels that depthwise blocks unroll at most, where there are registers for them.
_MOST_DEPTHWISE = 4
#: Unpacked weights of a whole layer above this size do not pay: they leave the caches again.
_MOST_UNPACKED = 512 << 10


def candidate_knobs(layer: VectorLayer) -> tuple[Knobs, ...]:
    """Distinct choices for a layer, the defaults first; they alone where nothing can be chosen."""
    printer = choose_printer(layer)
    if printer is print_matrix:
        return (NO_KNOBS, *_matrix_knobs(layer))
    if layer.integer.weights is not None and printer is not None:
        assert fits_depthwise(layer.integer)
        return (NO_KNOBS, *_depthwise_knobs(layer))
    return (NO_KNOBS,)


def _matrix_knobs(layer: VectorLayer) -> Iterator[Knobs]:
    base = plan_matrix(layer)
    for vectors in range(1, len(layer.family.pixels) + 1):
        if (vectors - 1) * layer.family.lanes >= layer.integer.layer.bounds.K:
            break
        sizes = block_sizes(layer.family, vectors, base.geometry.pixels)
        for pixels, (outside, unpack), strip in product(sizes, _orders(base), _strips(layer, base)):
            for ahead in (0, *AHEAD_KIB) if not base.unpack else (0,):
                yield Knobs(vectors, pixels, outside, unpack, strip, ahead)


def block_sizes(family: KernelFamily, vectors: int, extent: int) -> list[int]:
    """Pixels of a block that cut ``extent`` in different numbers, from half of the registers up.

    Args:
        family: the vector unit.
        vectors: of output channels in the block.
        extent: pixels in a line.
    """
    most = family.pixels[vectors - 1]
    if family.registers:
        most = max(most, (family.registers - vectors - 1) // vectors)
    most = min(most, MOST_PIXELS, extent)
    found = {block_count(extent, size): size for size in range(most, max(1, most // 2) - 1, -1)}
    return sorted({*found.values(), most}, reverse=True)


def _orders(base: MatrixPlan) -> list[tuple[Outside, Unpack]]:
    """Loop orders, with when weights are unpacked if they are."""
    codes = sum(size * b.repeat for size, b in zip(base.panel_codes, base.blocks, strict=True))
    is_one = base.geometry.lines * base.geometry.pixels == 1
    inner, outer = Outside.PIXELS, Outside.CHANNELS
    if not base.unpack:
        each = (outer,) if is_one else (inner, outer)
        return [(order, Unpack.DEFAULT) for order in each]
    found = [(outer, Unpack.EACH)]
    if codes * base.scratch_bytes <= _MOST_UNPACKED and not is_one:
        found += [(inner, Unpack.ALL), (outer, Unpack.ALL)]
    return found


def _strips(layer: VectorLayer, base: MatrixPlan) -> tuple[int, ...]:
    if not base.geometry.strip_rows:
        return (0,)
    image = image_size(layer.source())
    rows = {plan_geometry(layer.integer, *image, s, True).strip_rows: s for s in reversed(STRIPS)}
    return tuple(sorted(rows.values()))


def _depthwise_knobs(layer: VectorLayer) -> Iterator[Knobs]:
    channels = layer.source().channels
    widths = [w for w in layer.family.depthwise_bytes if w <= channels]
    widths = widths or [layer.family.depthwise_bytes[-1]]
    most = _MOST_DEPTHWISE if layer.family.registers else layer.family.depthwise_pixels
    most = min(most, layer.integer.layer.bounds.Q)
    for widest, pixels, outside in product(widths, range(most, 0, -1), list(Outside)[1:]):
        yield Knobs(pixels=pixels, outside=outside, widest=widest)
