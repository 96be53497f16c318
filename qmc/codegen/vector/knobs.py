"""How the kernel of one layer is built where there is a choice: blocks, loop order, prefetching.

The defaults follow from sizes alone; :mod:`qmc.tuning` measures what is best on a machine. Every
value gives the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

#: Pixels that the micro-kernels of a matrix product unroll at most.
MOST_PIXELS = 24


class Outside(StrEnum):
    """Which loops of a kernel lie outside."""

    DEFAULT = "default"
    PIXELS = "pixels"
    CHANNELS = "channels"


class Unpack(StrEnum):
    """When weights of fewer than 8 bits, or to be widened, go through scratch memory."""

    DEFAULT = "default"
    ALL = "all"  # once per inference
    EACH = "each"  # block by block of output channels


@dataclass(frozen=True, slots=True)
class Knobs:
    """Choices for one layer; 0 and ``default`` leave a choice to the sizes.

    Attributes:
        vectors: of output channels in a block of a matrix product, at most.
        pixels: of a block; of a matrix product, of its blocks of ``vectors`` vectors.
        outside: the loops that lie outside.
        unpack: when weights are unpacked or widened.
        strip_bytes: size of the padded input that a convolution works on at a time.
        prefetch_kib: how far ahead weights are fetched into the second-level cache; 0 is not.
        widest: bytes of the widest vectors of a depthwise layer.
    """

    vectors: int = 0
    pixels: int = 0
    outside: Outside = Outside.DEFAULT
    unpack: Unpack = Unpack.DEFAULT
    strip_bytes: int = 0
    prefetch_kib: int = 0
    widest: int = 0

    def to_data(self) -> dict[str, int | str]:
        """What is not left to the defaults, as plain data."""
        default = Knobs()
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: value.value if isinstance(value, StrEnum) else value
            for name, value in values.items()
            if value != getattr(default, name)
        }

    def __str__(self) -> str:
        """For people: ``vectors 2, pixels 12``."""
        return ", ".join(f"{k} {v}" for k, v in self.to_data().items()) or "defaults"


#: Everything by default.
NO_KNOBS = Knobs()
