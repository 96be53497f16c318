"""Width tables as CSV: one row for every layer and triple of widths.

Columns: layer, weight_bits, input_bits, output_bits, psum_bits, energy_pj, cycles, edp_pj_cycles,
bound, proved, gap, after those of the target and the objective. The first row names them.
"""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path

from qmc.errors import DataError, OutputError
from qmc.search_result import Objective
from qmc.width_table import WidthEntry, WidthTable

COLUMNS = (
    "target",
    "objective",
    "layer",
    "weight_bits",
    "input_bits",
    "output_bits",
    "psum_bits",
    "energy_pj",
    "cycles",
    "edp_pj_cycles",
    "bound",
    "proved",
    "gap",
)


def write_width_table(table: WidthTable, path: Path) -> None:
    """Write ``table`` as CSV; the file appears whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                file.write(width_table_text(table))
            Path(name).chmod(0o644)
            os.replace(name, path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def width_table_text(table: WidthTable) -> str:
    """The file's content; numbers are written so that reading gives the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for (layer, (weights, inputs, outputs)), entry in table.entries.items():
        partial = outputs if table.psum_bits is None else table.psum_bits
        edp = entry.energy_pj * entry.cycles
        proved = "yes" if entry.proved else "no"
        row = [table.target, table.objective.value, layer, weights, inputs, outputs, partial]
        row += [repr(entry.energy_pj), entry.cycles, repr(edp), entry.bound, proved]
        writer.writerow([*row, repr(entry.gap)])
    return text.getvalue()


def read_width_table(path: Path) -> WidthTable:
    """The table in a file; its entries have no mappings.

    Raises:
        DataError: the file cannot be read or is no width table.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DataError(f"{path}: cannot be read: {reason}") from error
    rows = list(csv.reader(lines))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise DataError(f"{path}: found no width table; allowed: columns {', '.join(COLUMNS)}")
    if len(rows) < 2:
        raise DataError(f"{path}: found no entries; allowed: at least one")
    return _table(path, rows[1:])


def _table(path: Path, rows: list[list[str]]) -> WidthTable:
    entries: dict[tuple[str, tuple[int, int, int]], WidthEntry] = {}
    machines: dict[tuple[str, str], None] = {}
    partial: set[tuple[int, int]] = set()
    for number, row in enumerate(rows, start=2):
        try:
            target, objective, layer, *rest = row
            weights, inputs, outputs, psum = (int(text) for text in rest[:4])
            energy, cycles, _, bound, _, gap = rest[4:]
            entry = WidthEntry(float(energy), int(cycles), bound, float(gap))
            machines[target, Objective(objective).value] = None
        except ValueError as error:
            raise DataError(f"{path}: line {number}: {error}") from error
        entries[layer, (weights, inputs, outputs)] = entry
        partial.add((outputs, psum))
    if len(machines) > 1:
        raise DataError(f"{path}: found {len(machines)} targets and objectives; allowed: one")
    ((target, objective),) = machines
    psums = {psum for _, psum in partial}
    same = all(outputs == psum for outputs, psum in partial)
    if len(psums) > 1 and not same:
        raise DataError(f"{path}: found psum_bits {sorted(psums)}; allowed: one width")
    layers = tuple(dict.fromkeys(layer for layer, _ in entries))
    widths = tuple(sorted({bits for _, triple in entries for bits in triple}))
    psum_bits = None if same else psums.pop()
    return WidthTable(target, Objective(objective), psum_bits, layers, widths, entries)
