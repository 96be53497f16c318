"""Sensitivities as CSV, and costs that somebody measured: rows are read with suspicion.

Sensitivities have the columns ``operand`` (W or A), ``name`` (of the layer, or of a tensor),
``bits`` and ``sensitivity``. Costs have ``layer``, ``widths`` (``w4a8``, ``w4a8o8``) and ``cost``.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from qmc.bit_groups import SEARCH_WIDTHS, activation_groups
from qmc.errors import DataError
from qmc.network import Network
from qmc.sensitivity import Sensitivities, Source
from qmc.width_classes import Triple
from qmc.widths import check_name

SENSITIVITY_COLUMNS = ("operand", "name", "bits", "sensitivity")
COST_COLUMNS = ("layer", "widths", "cost")
_MAX_BYTES = 64 << 20
_WIDTHS = re.compile(r"w([0-9]{1,2})a([0-9]{1,2})(?:o([0-9]{1,2}))?")


def sensitivities_text(found: Sensitivities) -> str:
    """The table as CSV; numbers read back as the same doubles."""
    lines = [",".join(SENSITIVITY_COLUMNS)]
    for operand, rows in (("W", found.weights), ("A", found.activations)):
        for name, row in rows.items():
            quoted = f'"{name}"' if re.search(r'[,"\n]', name) else name
            lines += [f"{operand},{quoted},{bits},{value!r}" for bits, value in row.items()]
    return "\n".join(lines) + "\n"


def read_sensitivities(path: Path, network: Network) -> Sensitivities:
    """The table in a file, for ``network``; a width without a row is never chosen.

    Raises:
        DataError: the file is wrong, names what is not there, or leaves a tensor out.
    """
    groups = {t: g for g in activation_groups(network) for t in g.tensors}
    seen: set[tuple[str, str, str]] = set()
    layers = [layer.name for layer in network.layers if layer.has_weights]
    found: dict[str, dict[str, dict[int, float]]] = {"W": {}, "A": {}}
    for line, (operand, name, bits, value) in _rows(path, SENSITIVITY_COLUMNS):
        if operand not in found:
            raise DataError(f"{path}: line {line}: operand: found '{operand}'; allowed: W, A")
        _check(path, line, name, layers if operand == "W" else list(groups))
        if (operand, name, bits) in seen:
            raise DataError(f"{path}: line {line}: name: '{name}' at {bits} bits twice")
        seen.add((operand, name, bits))
        key = name if operand == "W" else groups[name].name
        row = found[operand].setdefault(key, {})
        width = _integer(path, line, "bits", bits)
        row[width] = row.get(width, 0.0) + _number(path, line, "sensitivity", value)
    free = [g.name for g in activation_groups(network) if g.fixed is None]
    for operand, names in (("W", layers), ("A", free)):
        missing = [name for name in names if name not in found[operand]]
        if missing:
            raise DataError(f"{path}: found no row of operand {operand} and name '{missing[0]}'")
    activations = {name: found["A"][name] for name in free}
    return Sensitivities(Source.FILE, 0, found["W"], activations)


@dataclass(frozen=True, slots=True)
class MeasuredCosts:
    """Costs of layers by triple of widths, and what looks wrong in them.

    Attributes:
        costs: by layer, then (weight, input, output) bits.
        notes: gaps, and costs that rise when a width falls, one sentence each.
    """

    costs: Mapping[str, Mapping[Triple, float]]
    notes: tuple[str, ...]


def read_costs(path: Path, network: Network) -> MeasuredCosts:
    """Measured costs of the layers of ``network``; ``w4a8`` stands for every output width.

    Raises:
        DataError: the file is wrong, or a layer with weights has no row.
    """
    layers = [layer.name for layer in network.layers if layer.has_weights]
    found: dict[str, dict[Triple, float]] = {name: {} for name in layers}
    for line, (layer, widths, cost) in _rows(path, COST_COLUMNS):
        _check(path, line, layer, layers)
        value = _number(path, line, "cost", cost)
        if value < 0:
            raise DataError(f"{path}: line {line}: cost: found {cost}; allowed: 0 or more")
        for triple in _triples(path, line, widths):
            if triple in found[layer] and found[layer][triple] != value:
                raise DataError(f"{path}: line {line}: widths: '{widths}' of '{layer}' twice")
            found[layer][triple] = value
    empty = [name for name in layers if not found[name]]
    if empty:
        raise DataError(f"{path}: found no row of layer '{empty[0]}'")
    return MeasuredCosts(
        found, tuple(note for name in layers for note in _notes(name, found[name]))
    )


def _triples(path: Path, line: int, widths: str) -> list[Triple]:
    match = _WIDTHS.fullmatch(widths)
    bits = [int(text) for text in match.groups() if text] if match else []
    if not bits or not all(1 <= b <= 16 for b in bits):
        raise DataError(
            f"{path}: line {line}: widths: found '{widths}'; allowed: w4a8, w4a8o8 (1 to 16 bits)"
        )
    outputs = bits[2:] or [*SEARCH_WIDTHS, 16]
    return [(bits[0], bits[1], output) for output in outputs]


def _notes(layer: str, costs: Mapping[Triple, float]) -> Iterator[str]:
    """Gaps in the grid of widths that occur, and costs that rise when one width falls."""
    axes = [sorted({triple[axis] for triple in costs}) for axis in range(3)]
    gaps = [t for t in product(*axes) if t not in costs]
    if gaps:
        yield f"layer '{layer}': {len(gaps)} widths without a cost, {_text(gaps[0])} first"
    rises = [
        (narrow, triple)
        for triple in sorted(costs)
        for axis in range(3)
        if (narrow := _narrower(triple, axis, axes[axis])) in costs
        and costs[narrow] > costs[triple]
    ]
    if rises:
        narrow, wide = rises[0]
        yield (
            f"layer '{layer}': {len(rises)} costs rise when a width falls, first {_text(narrow)} "
            f"{costs[narrow]:g} above {_text(wide)} {costs[wide]:g}"
        )


def _narrower(triple: Triple, axis: int, widths: Sequence[int]) -> Triple:
    """The same with the next smaller width on an axis; itself where there is none."""
    below = [bits for bits in widths if bits < triple[axis]]
    changed = list(triple)
    changed[axis] = below[-1] if below else triple[axis]
    return changed[0], changed[1], changed[2]


def _text(triple: Sequence[int]) -> str:
    return "w{}a{}o{}".format(*triple)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and cells in the order of ``columns``; other columns are left out."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{path}: cannot be read: {reason}") from None
    try:
        rows = [
            (reader.line_num, row) for reader in [csv.reader(text.splitlines())] for row in reader
        ]
    except csv.Error as error:
        raise DataError(f"{path}: not CSV: {error}") from None
    rows = [(line, row) for line, row in rows if any(cell.strip() for cell in row)]
    head = [cell.strip() for cell in rows[0][1]] if rows else []
    missing = [name for name in columns if name not in head]
    if missing:
        told = ", ".join(head) or "none"
        raise DataError(f"{path}: line 1: found columns {told}; allowed: {', '.join(columns)}")
    for line, row in rows[1:]:
        if len(row) != len(head):
            raise DataError(f"{path}: line {line}: found {len(row)} cells; allowed: {len(head)}")
        yield line, [row[head.index(name)].strip() for name in columns]


def _check(path: Path, line: int, name: str, known: list[str]) -> None:
    try:
        check_name(path, "name", name, known)
    except Exception as error:
        raise DataError(f"{path}: line {line}: {str(error).partition(': ')[2]}") from None


def _integer(path: Path, line: int, column: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 2 <= int(text) <= 8):
        raise DataError(f"{path}: line {line}: {column}: found '{text}'; allowed: 2 to 8")
    return int(text)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}: line {line}: {column}: found '{text}'; allowed: a finite number")
    return value
