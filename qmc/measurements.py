"""Measured cycles or energy from a CSV file, as records of one machine.

Columns: ``layer`` (``C=32 K=64 P=56 ...``, or the name of a layer of the model), ``mapping`` (a
file relative to the CSV, or ``best``), ``widths`` (``w4a8o8``), ``measured``; and, where a file
holds both, ``quantity`` (``cycles`` or ``energy_pj``). The machine may be named by its hash, at
least twelve digits: in a column ``target_sha256`` or in a file ``<name>.csv.target`` beside it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from pathlib import Path

from qmc.cost_models.calibrated_model import Quantity
from qmc.errors import DataError, QmcError
from qmc.layer import Layer, Precision
from qmc.layer_text import parse_bits, parse_layer
from qmc.mapping import Mapping
from qmc.mapping_text import read_mapping_data
from qmc.targets.target import Target
from qmc.yaml_input import read_yaml

#: In the column ``mapping``: what the exact search finds.
BEST = "best"
_COLUMNS = ("layer", "mapping", "widths", "measured")
_OPTIONAL = ("quantity", "target_sha256")
_LARGEST_BYTES, _MOST_RECORDS = 16 << 20, 20_000
_HASH_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Measurement:
    """One line of the file.

    Attributes:
        where: file and line, for messages.
        mapping: None is the best one.
        measured: cycles or pJ.
    """

    where: str
    layer: Layer
    precision: Precision
    mapping: Mapping | None
    measured: float


def read_measurements(
    path: Path, target: Target, quantity: Quantity, layers: Dict[str, Layer]
) -> list[Measurement]:
    """The records of ``quantity`` in a CSV file.

    Args:
        path: the file.
        target: the machine that was measured.
        quantity: what to take; lines of another quantity are left out.
        layers: layers of the model by name; empty where there is none.

    Raises:
        DataError: the file cannot be read, a value is not allowed, or it is of another machine.
    """
    rows = _read_rows(path)
    _check_sidecar(path, target)
    if len(rows) > _MOST_RECORDS:
        raise DataError(f"{path}: found {len(rows)} records; allowed: at most {_MOST_RECORDS}")
    found = []
    for number, row in rows:
        where = f"{path}:{number}"
        _check_hash(where, row.get("target_sha256", ""), target)
        if _quantity(where, row.get("quantity", ""), quantity) is quantity:
            found.append(_record(where, row, path.parent, target, layers))
    if not found:
        raise DataError(f"{path}: found no record of {quantity.value}; allowed: one or more")
    return found


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise DataError(f"{path}: larger than {_LARGEST_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file in UTF-8") from None
    reader = csv.reader(io.StringIO(text))
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None
    lines = [(number, cells) for number, cells in lines if any(cells)]
    header = lines[0][1] if lines else []
    _check_header(path, header)
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(f"{path}:{number}: found {len(cells)} cells; allowed: {len(header)}")
    return [(number, dict(zip(header, cells, strict=True))) for number, cells in lines[1:]]


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in _COLUMNS if name not in header]
    unknown = [name for name in header if name not in (*_COLUMNS, *_OPTIONAL)]
    if missing or unknown or len(set(header)) != len(header):
        raise DataError(
            f"{path}: columns: found {', '.join(header)[:120] or 'none'}; allowed: "
            f"{', '.join(_COLUMNS)}, and {' and '.join(_OPTIONAL)} if wanted, each once"
        )


def _check_sidecar(path: Path, target: Target) -> None:
    sidecar = path.with_name(path.name + ".target")
    if sidecar.is_file():
        try:
            words = sidecar.read_text(encoding="utf-8")[:1000].split()
        except (OSError, UnicodeDecodeError):
            raise DataError(f"{sidecar}: cannot be read") from None
        _check_hash(str(sidecar), words[0] if words else "-", target)


def _check_hash(where: str, text: str, target: Target) -> None:
    """An empty cell says nothing of the machine."""
    if text and (len(text) < _HASH_DIGITS or not target.sha256.startswith(text.lower())):
        raise DataError(
            f"{where}: target_sha256: found '{text[:16]}', a record of another target; allowed: "
            f"{target.sha256[:_HASH_DIGITS]}, which is '{target.name}'"
        )


def _quantity(where: str, text: str, default: Quantity) -> Quantity:
    if not text:
        return default
    if text not in list(Quantity):
        raise DataError(f"{where}: quantity: found '{text[:40]}'; allowed: {', '.join(Quantity)}")
    return Quantity(text)


def _record(
    where: str, row: dict[str, str], folder: Path, target: Target, layers: Dict[str, Layer]
) -> Measurement:
    try:
        layer = layers.get(row["layer"]) or parse_layer(row["layer"])
        precision = parse_bits(row["widths"], target.psum_bits)
        mapping = None
        if row["mapping"] != BEST:
            file = folder / row["mapping"]
            mapping = read_mapping_data(read_yaml(file, DataError), str(file))
    except QmcError as error:
        raise DataError(f"{where}: {error}") from None
    if not layer.has_weights:
        raise DataError(f"{where}: layer '{layer.name}' has no mapping ({layer.op})")
    try:
        measured = float(row["measured"])
    except ValueError:
        measured = math.nan
    if not 0 < measured < math.inf:
        raise DataError(f"{where}: measured: found '{row['measured'][:40]}'; allowed: above 0")
    return Measurement(where, layer, precision, mapping, measured)
