"""A ZigZag hardware file as a machine description of qmc, and notes on what has no translation.

ZigZag lists memories innermost first, sizes and bandwidths in bits, costs in pJ per access of the
full bandwidth. A memory is shared along its ``served_dimensions`` and copied along the others.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qmc.errors import TargetError

Json = dict[str, Any]
#: By ZigZag's convention for convolutions.
_OPERANDS = {"I1": "I", "I2": "W", "O": "O", "I": "I", "W": "W"}
_WORD_BITS = 8
_COVERED = frozenset(
    "size r_bw w_bw r_cost w_cost area r_port w_port rw_port operands ports "
    "served_dimensions".split()
)


def zigzag_machine(path: Path, data: Json, name: str) -> tuple[Json, list[str]]:
    """The description as plain data, and what could not be translated, one line each.

    Raises:
        TargetError: keys are missing, or memories are copied along dimensions that do not nest.
    """
    try:
        return _machine(path, data, name)
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        found = f"{type(error).__name__} {error}"
        raise TargetError(path, "file", found, "a ZigZag hardware description") from None


def _machine(path: Path, data: Json, name: str) -> tuple[Json, list[str]]:
    array = data["operational_array"]
    sizes = dict(zip(array["dimensions"], map(int, array["sizes"]), strict=True))
    notes = [
        "clock_mhz: not in the file; assumed: 1000 MHz",
        "groups_follow: not in the file; assumed: K",
        "packing: bits one after another (dense), as ZigZag counts them",
        "loops: nothing of ZigZag's mapping files is read; any loop may run anywhere",
    ]
    entries = _outermost_first(data["memories"], sizes, notes)
    memories = [_memory(label, memory, notes) for label, memory in entries]
    psum_bits = min([32, *(int(m["size"]) for _, m in entries if "O" in m["operands"])])
    notes.append(f"psum_bits: not in the file; assumed: {psum_bits}, which every memory of O holds")
    memories[0] |= {"keep": ["W", "I", "O"], "bypass": [], "depth_words": "unlimited"}
    notes.append(f"{memories[0]['name']}: the outermost memory keeps everything, without limit")
    copies = [_copied(memory, sizes) for _, memory in entries]
    for memory, here, below in zip(memories, copies, [*copies[1:], list(sizes)], strict=True):
        _add_fanout(path, memory, here, below, sizes, notes)
    bits = array.get("input_precision", [_WORD_BITS, _WORD_BITS])
    if "input_precision" not in array:
        notes.append("mac: widths not in the file; assumed: 1 to 8 bits")
    return {
        "schema_version": 1,
        "name": name,
        "description": f"{data.get('name', name)}, imported from ZigZag",
        "clock_mhz": 1000.0,
        "psum_bits": psum_bits,
        "groups_follow": "K",
        "sources": {"all": f"imported from {path.name}"},
        "memories": memories,
        "mac": {
            "energy_pj": float(array["unit_energy"]),
            "weight_bits": [1, int(bits[-1])],
            "input_bits": [1, int(bits[0])],
        },
    }, notes


def _outermost_first(
    memories: dict[str, Json], sizes: dict[str, int], notes: list[str]
) -> list[tuple[str, Json]]:
    """Memories that keep something; outer ones have fewer copies, and stand later in the file."""
    found = []
    for label, memory in reversed(memories.items()):
        if set(memory["operands"]) & set(_OPERANDS):
            found.append((label, memory))
        else:
            notes.append(f"{label}: keeps no operand; left out")
    return sorted(found, key=lambda entry: len(_copied(entry[1], sizes)))


def _copied(memory: Json, sizes: dict[str, int]) -> list[str]:
    served = memory.get("served_dimensions", ())
    return [dim for dim in sizes if dim not in served and sizes[dim] > 1]


def _memory(label: str, memory: Json, notes: list[str]) -> Json:
    read, write = _bandwidth(memory, "r"), _bandwidth(memory, "w")
    operands = [_OPERANDS[name] for name in memory["operands"] if name in _OPERANDS]
    for name in memory["operands"]:
        if name not in _OPERANDS:
            notes.append(f"{label}: operand {name} is not translated")
    for key, value in memory.items():
        if key not in _COVERED and not (key == "latency" and value == 1):
            notes.append(f"{label}: {key} = {value} is not translated")
    if memory.get("rw_port"):
        notes.append(f"{label}: a port shared by reads and writes counts as one for each")
    row = max(1, math.ceil(read / _WORD_BITS))
    if read != write:
        notes.append(f"{label}: rows of {read} bits; writes of {write} bits are scaled to them")
    write_pj = float(memory["w_cost"]) * read / write
    return {
        "name": label,
        "word_bits": _WORD_BITS,
        "row_words": row,
        "depth_words": max(1, int(memory["size"]) // _WORD_BITS),
        "keep": operands,
        "bypass": [operand for operand in "WIO" if operand not in operands],
        "packing": "dense",
        "energy_pj": {"read": float(memory["r_cost"]), "fill": write_pj, "update": write_pj},
        "bandwidth": {"read": read / _WORD_BITS, "write": write / _WORD_BITS},
    }


def _bandwidth(memory: Json, kind: str) -> int:
    """Bits per cycle: ``r_bw`` and ``w_bw``, or the widest port of later versions."""
    if f"{kind}_bw" in memory:
        return int(memory[f"{kind}_bw"])
    types = {"read_write", "read" if kind == "r" else "write"}
    return max(int(port["bandwidth_max"]) for port in memory["ports"] if port["type"] in types)


def _add_fanout(
    path: Path,
    memory: Json,
    here: list[str],
    below: list[str],
    sizes: dict[str, int],
    notes: list[str],
) -> None:
    if not set(here) <= set(below):
        found = f"{', '.join(here)} above {', '.join(below) or 'none'}"
        allowed = "memories whose copies nest: served_dimensions that only shrink inwards"
        raise TargetError(path, f"memories.{memory['name']}", found, allowed)
    new = [dim for dim in below if dim not in here and sizes[dim] > 1]
    if not new:
        return
    first, *rest = new
    memory["fanout"] = {"x": {"size": sizes[first]}}
    if rest:
        memory["fanout"]["y"] = {"size": math.prod(sizes[dim] for dim in rest)}
    if len(rest) > 1:
        notes.append(f"{memory['name']}: dimensions {', '.join(rest)} joined along y")
