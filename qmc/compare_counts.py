"""Counts of a mapping side by side with those that another tool reports for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from qmc.errors import DataError
from qmc.layer import Operand
from qmc.yaml_input import read_yaml

Json = dict[str, Any]
_OPERANDS = {"Weights": Operand.W, "Inputs": Operand.I, "Outputs": Operand.O}
#: Our quantities and what records call them.
_QUANTITIES = {
    "reads": ("reads_per_instance", "reads"),
    "fills": ("fills_per_instance", "fills"),
    "updates": ("updates_per_instance", "updates"),
    "utilized_words": ("utilized_capacity_words", "utilized_words"),
    "instances": ("utilized_instances_max", "instances"),
    "energy_pj": ("energy_total_pj", "energy_total_pJ"),
}
#: Records print a few decimals.
_RELATIVE, _ABSOLUTE_PJ = 1e-5, 0.01


def read_record(text: str) -> Json:
    """A record of another tool from ``FILE``, or from a list of them as ``FILE#NAME``.

    A record has ``levels``: a list of ``{level, tensors: {Weights: {reads_per_instance, ...}}}``,
    or an object of ``{operands: {Weights: {reads, ...}}}`` by level. It may have ``cycles`` and
    ``energy_pj``.

    Raises:
        DataError: the file, the name or the record is not so.
    """
    file, _, name = text.partition("#")
    data = read_yaml(Path(file), DataError)
    entries = data if isinstance(data, list) else [data]
    records: list[Json] = [entry for entry in entries if isinstance(entry, dict)]
    if name:
        records = [record for record in records if record.get("name") == name] or records
    if len(records) != 1:
        names = ", ".join(str(record.get("name")) for record in records)[:200]
        raise DataError(f"{file}: found {len(records)} records; allowed: one, FILE#NAME of {names}")
    if not isinstance(records[0].get("levels"), (list, dict)):
        raise DataError(f"{file}: levels: found nothing; allowed: counts by level")
    return records[0]


def compare(entry: Json, record: Json) -> Json:
    """Rows of ``memory, operand, quantity, here, there, same``, and how many differ.

    Args:
        entry: of ``layers`` in a report.
        record: from :func:`read_record`; levels that count nothing are left out.

    Raises:
        DataError: the record's counts are not numbers.
    """
    rows = [
        _row("", "", key, entry[key], record[key])
        for key in ("cycles", "energy_pj")
        if key in record
    ]
    seen = set()
    for memory, operand, counts in _counts(record):
        here = entry["accesses"].get(memory, {}).get(operand, {})
        seen.add((memory, operand))
        for quantity, names in _QUANTITIES.items():
            there = next((counts[name] for name in names if name in counts), None)
            if there is not None:
                rows.append(_row(memory, operand, quantity, here.get(quantity), there))
    for memory, operands in entry["accesses"].items():
        for operand, here in operands.items():
            if (memory, operand) not in seen:
                rows += [_row(memory, operand, key, here[key], None) for key in _QUANTITIES]
    return {"rows": rows, "differences": sum(not row["same"] for row in rows)}


def _counts(record: Json) -> list[tuple[str, str, Json]]:
    """Memory, operand and counts of every part of a record."""
    levels = record["levels"]
    if isinstance(levels, list):
        levels = {str(level.get("level")): level for level in levels if isinstance(level, dict)}
    found = []
    for memory, level in levels.items():
        parts = level.get("tensors") or level.get("operands") if isinstance(level, dict) else None
        for name, counts in (parts or {}).items():
            if name not in _OPERANDS or not isinstance(counts, dict):
                allowed = f"counts of {', '.join(_OPERANDS)}"
                raise DataError(f"record: {memory}: found {name!r:.40}; allowed: {allowed}")
            found.append((memory, _OPERANDS[name].value, counts))
    return found


def _row(memory: str, operand: str, quantity: str, here: object, there: object) -> Json:
    for value in (here, there):
        if value is not None and not isinstance(value, (int, float)):
            raise DataError(
                f"record: {memory} {operand} {quantity}: found {value!r:.40}; allowed: a number"
            )
    same = here == there or (quantity == "energy_pj" and _close(here, there))
    return {
        "memory": memory,
        "operand": operand,
        "quantity": quantity,
        "here": here,
        "there": there,
        "same": same,
    }


def _close(here: Any, there: Any) -> bool:
    if here is None or there is None:
        return False
    return math.isclose(here, there, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE_PJ)
