"""Cache sizes of this computer, for descriptions that leave them to the system.

A memory with ``cache: L2`` gets its capacity and row (the line) from the folder that the
description names under ``caches``, in the form of Linux's sysfs (one folder ``index<n>`` per cache
with the files level, type, size, coherency_line_size; Documentation/ABI/testing/
sysfs-devices-system-cpu). A memory whose cache the system does not have is left out. Where the
folder tells nothing, the sizes in the description stand, and one warning says so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qmc.errors import TargetError

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_NAMES = ("L1", "L2", "L3", "L4")


@dataclass(frozen=True, slots=True)
class Cache:
    """A data cache.

    Attributes:
        name: L1, L2 and so on.
        size_bytes: its capacity.
        line_bytes: what it moves at a time.
    """

    name: str
    size_bytes: int
    line_bytes: int


def read_caches(folder: Path) -> dict[str, Cache]:
    """Data and unified caches by name, L1 first; empty where the folder tells nothing."""
    found = (_read_cache(index) for index in sorted(folder.glob("index*")))
    return {cache.name: cache for cache in found if cache is not None}


def _read_cache(index: Path) -> Cache | None:
    try:
        level, kind, size, line = (
            (index / file).read_text(encoding="ascii").strip()
            for file in ("level", "type", "size", "coherency_line_size")
        )
        if kind == "Instruction":
            return None
        digits, unit = (size[:-1], size[-1]) if size[-1:] in _UNITS else (size, "")
        cache = Cache(f"L{int(level)}", int(digits) * _UNITS.get(unit, 1), int(line))
    except (OSError, ValueError):
        return None
    return cache if cache.size_bytes >= cache.line_bytes > 0 else None


def fill_caches(path: Path, data: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A description with the system's cache sizes filled in, and what was found, as text.

    Args:
        path: the file, for messages.
        data: the description, not yet checked.

    Raises:
        TargetError: the system lacks a cache that the machine cannot do without.
    """
    memories, folder = data.get("memories"), data.get("caches")
    if not isinstance(folder, str) or not isinstance(memories, list):
        return data, ""
    caches = read_caches(Path(folder))
    if not caches:
        _tell_once(str(path), folder)
    filled = [_fill(path, index, memory, caches) for index, memory in enumerate(memories)]
    data = {**data, "memories": [memory for memory in filled if memory is not None]}
    found = _in_words(caches) or f"assumed, since {folder} describes none"
    if isinstance(data.get("sources"), dict):
        data["sources"] = {**data["sources"], "caches": found}
    return data, found


def _fill(path: Path, index: int, memory: Any, caches: dict[str, Cache]) -> Any:
    """The memory with its cache's sizes; None where the system has others but not this one.

    What is malformed is left to the schema.
    """
    if not isinstance(memory, dict) or memory.get("cache") not in _NAMES:
        return memory
    memory = dict(memory)
    name = memory.pop("cache")
    if not caches:
        return memory
    if name not in caches:
        if "fanout" in memory:
            known = ", ".join(caches)
            raise TargetError(
                path, f"memories[{index}].cache", name, f"a cache of this computer: {known}"
            )
        return None
    word_bits = memory.get("word_bits")
    if isinstance(word_bits, int) and word_bits > 0:  # else the schema says what is wrong
        memory["depth_words"] = caches[name].size_bytes * 8 // word_bits
        memory["row_words"] = max(1, caches[name].line_bytes * 8 // word_bits)
    return memory


def _in_words(caches: dict[str, Cache]) -> str:
    return "; ".join(
        f"{cache.name} {cache.size_bytes / 1024:g} KiB in lines of {cache.line_bytes} bytes"
        for cache in caches.values()
    )


@lru_cache(maxsize=64)
def _tell_once(path: str, folder: str) -> None:
    logging.getLogger("qmc").warning(
        "%s: caches: %s describes none; the sizes in the description are assumed", path, folder
    )
