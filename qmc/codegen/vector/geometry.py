"""Where the pixels of a matrix product lie in the input, or in strips of padded input."""

from __future__ import annotations

from dataclasses import dataclass, replace

from qmc.codegen.vector.sources import OVER_READ
from qmc.integer import IntegerLayer

#: Convolutions with more weights than this work on the whole image, so that each is read once.
_MANY_WEIGHTS = 128 << 10


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the pixels of a matrix product lie, in bytes.

    Attributes:
        lines, pixels: the output as lines of pixels; a pointwise layer is one long line.
        line_step, pixel_step: between neighbours in the input.
        rows, row_step, taps, tap_step, length: the runs under a pixel.
        strip_rows: output rows that share a padded strip; 0 reads the input in place.
        strip_bytes: size of the strip.
        run_bytes: runs are read in groups of so many bytes.
        tile_bytes: and cut into equal pieces of at most so many; 0 is not cut.
    """

    lines: int
    pixels: int
    line_step: int
    pixel_step: int
    rows: int
    row_step: int
    taps: int
    tap_step: int
    length: int
    strip_rows: int
    strip_bytes: int
    run_bytes: int = 4
    tile_bytes: int = 0

    @property
    def quads(self) -> int:
        """Groups of four bytes that are read of a run."""
        if self.tile_bytes:
            return _tiled_quads(self.length, self.tile_bytes // 4)
        return -(-self.length // self.run_bytes) * self.run_bytes // 4

    @property
    def over_reads(self) -> bool:
        """Whether what is read of a run reaches beyond it."""
        return 4 * self.quads > self.length


def _tiled_quads(length: int, most: int) -> int:
    """Quads of a run, filled up so that few equal pieces of at most ``most`` quads cover them."""

    def pieces(quads: int) -> int:
        return quads // max(piece for piece in range(1, most + 1) if quads % piece == 0)

    allowed = range(-(-length // 4), (length + OVER_READ - 1) // 4 + 1)
    return min(allowed, key=lambda quads: (pieces(quads), quads))


def gathered(geometry: Geometry) -> Geometry:
    """The geometry of pixels whose runs were copied together."""
    length = geometry.rows * geometry.taps * geometry.length
    together = replace(geometry, rows=1, row_step=0, taps=1, tap_step=0, length=length)
    return replace(together, pixel_step=4 * together.quads)


def plan_geometry(
    integer: IntegerLayer, height: int, width: int, strip_bytes: int, is_chosen: bool = False
) -> Geometry:
    """Geometry of a CONV or DENSE layer.

    Args:
        integer: the layer.
        height: of the input.
        width: of the input.
        strip_bytes: wanted size of a strip.
        is_chosen: whether that size stands however many weights there are.
    """
    layer, bounds = integer.layer, integer.layer.bounds
    channels = bounds.G * bounds.C
    is_padded = any(layer.pads)
    row = (width + layer.pads[1] + layer.pads[3]) * channels
    merged = bounds.G == 1 and layer.dilations[1] == 1
    strip_rows = _strip_rows(integer, row, strip_bytes, is_chosen) if is_padded else 0
    strip_height = (strip_rows - 1) * layer.strides[0] + (bounds.R - 1) * layer.dilations[0] + 1
    is_line = not is_padded and bounds.R * bounds.S == 1 and layer.strides == (1, 1)
    return Geometry(
        lines=1 if is_line else bounds.P,
        pixels=bounds.P * bounds.Q if is_line else bounds.Q,
        line_step=layer.strides[0] * row,
        pixel_step=layer.strides[1] * channels,
        rows=bounds.R,
        row_step=layer.dilations[0] * row,
        taps=1 if merged else bounds.S,
        tap_step=layer.dilations[1] * channels,
        length=bounds.S * bounds.C if merged else bounds.C,
        strip_rows=strip_rows,
        strip_bytes=strip_height * row + OVER_READ if is_padded else 0,
    )


def _strip_rows(integer: IntegerLayer, row: int, strip_bytes: int, is_chosen: bool) -> int:
    """Output rows of a strip: as many as fit, evenly."""
    layer, bounds = integer.layer, integer.layer.bounds
    assert integer.weights is not None
    if integer.weights.size > _MANY_WEIGHTS and not is_chosen:
        return bounds.P
    reach = (bounds.R - 1) * layer.dilations[0] + 1
    most = max(1, (strip_bytes // row - reach) // layer.strides[0] + 1)
    return -(-bounds.P // -(-bounds.P // most))
