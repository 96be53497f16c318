"""Sizes of a network from the linker's map: what its own files take, libraries left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: Files of the folder that belong to the program around the network.
_AROUND = ("main.o", "count.o", "linux_user.o")
#: A section, its address, size and object; long names are followed by a line break.
_SECTION = re.compile(r"^ (\.?\w[\w.$]*)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+\.o)$", re.MULTILINE)
_KEPT = "Linker script and memory map"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a linked network.

    Attributes:
        code: of its functions.
        constants: weights, requantization constants and tables.
        ram: of its static variables: the arena.
    """

    code: int
    constants: int
    ram: int


def read_sizes(path: Path) -> Sizes:
    """Sizes of the network in the map that GNU ld wrote."""
    text = path.read_text(encoding="ascii", errors="replace")
    totals = {"text": 0, "rodata": 0, "data": 0}
    for section, size, found in _SECTION.findall(text[text.find(_KEPT) :]):
        kind = _kind(section)
        if kind and Path(found).parent.name == OBJECTS and Path(found).name not in _AROUND:
            totals[kind] += int(size, 16)
    return Sizes(totals["text"], totals["rodata"], totals["data"])


#: Folder of the objects that are the emitted files.
OBJECTS = "objects"


def _kind(section: str) -> str:
    """``text``, ``rodata`` or ``data``; empty for what is not loaded."""
    for kind, names in (
        ("rodata", (".rodata", ".srodata")),
        ("text", (".text",)),
        ("data", (".data", ".sdata", ".bss", ".sbss", "COMMON")),
    ):
        if section.startswith(names):
            return kind
    return ""
