"""Scratch memory of one kernel: typed arrays one after another in a piece of the arena."""

from __future__ import annotations

from dataclasses import dataclass, field

from qmc.codegen.writer import Writer

_SIZES = {"int32_t": 4, "uint32_t": 4, "int8_t": 1, "uint8_t": 1}
_WORD = 4


@dataclass(slots=True)
class Scratch:
    """Arrays in order; each starts at a multiple of ``alignment`` bytes, of four at least."""

    arrays: list[tuple[str, str, int, int]] = field(default_factory=list)
    size_bytes: int = 0
    alignment: int = _WORD

    def add(self, name: str, kind: str, count: int) -> None:
        """Append an array of ``count`` elements of the C type ``kind``."""
        start = -(-self.size_bytes // self.alignment) * self.alignment
        self.arrays.append((name, kind, count, start))
        self.size_bytes = start + -(-count * _SIZES[kind] // _WORD) * _WORD

    def declare(self, writer: Writer) -> None:
        """Print a pointer for each array."""
        for name, kind, _, start in self.arrays:
            place = f"scratch + {start // _WORD}" if start else "scratch"
            cast = "" if kind == "int32_t" else f"({kind} *)"
            value = f"{cast}({place})" if cast else place
            writer.line(f"{kind} *const restrict {name} = {value};")
