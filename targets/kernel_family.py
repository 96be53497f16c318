"""The vector unit of a processor as emitted C uses it: a header of micro-kernels and its blocks."""

from __future__ import annotations

from dataclasses import dataclass

from qmc.targets.processor import lacking
from qmc.targets.toolchain import Toolchain


@dataclass(frozen=True, slots=True)
class Header:
    """A file of C that is copied beside the kernels."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class KernelFamily:
    """Micro-kernels of one instruction set, and the knobs of the kernels built from them.

    Attributes:
        header: the file that kernels include.
        headers: it and all that it includes, besides what every emitted folder has.
        cpu_flags: instruction sets that they need, as Linux names them.
        lanes: 32-bit sums in a vector.
        pixels: pixels of a block of a matrix product by its vectors of output channels, 1 first;
            pixels x vectors, the vectors of weights and one input must fit the registers.
        depthwise_bytes: widths of the vectors of depthwise blocks, widest first.
        depthwise_pixels: pixels of a depthwise block.
        widens: whether 8-bit weights are widened to 16 bits before they are used often, where the
            instructions for bytes saturate.
        reads_codes: whether a single pixel is multiplied with weights of 4, 2 or 1 bits as they lie
            in memory, unpacked in registers.
        panels: how weights and sums of a block lie. "quads": four inputs of a channel beside those
            of the next one, sums in the order in which instructions narrow them. "rows": all inputs
            of a channel one after another, as loops that sum over inputs read them.
        run_bytes: the inputs of a run are read in groups of so many.
        tile_bytes: inputs of a pixel in a tile, where matrix products are made of tiles: longer
            runs are cut into equal pieces, and kernels shape the tiles beforehand; 0 is no tiles.
        block_cost: what a block of a matrix product costs besides its pixels, in pixels.
        columns: runs up to so many bytes have their weights input by input; 0 is never.
        requant: how sums are scaled: "float" by fused multiply-adds, "integer" by the high half of
            a 32-bit product.
        signed_inputs: the unit multiplies signed bytes: the kernels subtract 128 from the inputs,
            which the constants of the sums make good.
        registers: of vectors; 0 is not said, and then no blocks larger than ``pixels`` are tried.
        state_components: numbers of XSAVE's state components that Linux must grant the process.
        check: C expression that tells whether the processor has what the kernels need; empty is
            not checked.
        alignment: of buffers and constants, in bytes.
        toolchain: how programs are built and run; None is as on this computer.
        files: those of the toolchain's sources.
        panel_bytes: weights up to this size stay in the first-level cache: the loop over blocks of
            output channels runs inside that over pixels.
        strip_bytes: size of the padded piece of the input that a convolution works on at a time.
    """

    header: str
    headers: tuple[Header, ...]
    cpu_flags: tuple[str, ...]
    lanes: int
    pixels: tuple[int, ...]
    depthwise_bytes: tuple[int, ...]
    depthwise_pixels: int
    widens: bool
    panel_bytes: int
    strip_bytes: int
    reads_codes: bool = False
    panels: str = "quads"
    run_bytes: int = 4
    tile_bytes: int = 0
    block_cost: float = 0.5
    columns: int = 0
    requant: str = "float"
    signed_inputs: bool = False
    registers: int = 0
    state_components: tuple[int, ...] = ()
    check: str = ""
    alignment: int = 64
    toolchain: Toolchain | None = None
    files: tuple[Header, ...] = ()

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector."""
        return 4 * self.lanes

    def lacking_here(self) -> list[str]:
        """What the kernels need and this computer has not, as people read it."""
        return lacking(self.cpu_flags, self.state_components)
