"""``qmc targets import``: machine files of other tools become a description of qmc."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from qmc.errors import TargetError
from qmc.targets import Target, load_target
from qmc.timeloop_files import read_machine_yaml, read_timeloop
from qmc.timeloop_machine import timeloop_machine
from qmc.zigzag_machine import zigzag_machine


@dataclass(frozen=True, slots=True)
class Imported:
    """A written description.

    Attributes:
        path: of the file.
        target: as read back from it.
        notes: what was assumed or has no translation, one line each; the file holds them too.
    """

    path: Path
    target: Target
    notes: tuple[str, ...]


def import_machine(files: Sequence[Path], output: Path) -> Imported:
    """Translate files of one machine and write ``output``.

    Args:
        files: Timeloop's architecture, energy table and constraints in any order and division, or
            one ZigZag hardware file.
        output: a YAML file; replaced if it exists.

    Raises:
        TargetError: a file cannot be read or translated, or the result breaks the schema; then
            ``output`` stays, to be corrected.
    """
    if output.suffix not in {".yaml", ".yml"}:
        raise TargetError("--output", "suffix", output.suffix, ".yaml, .yml")
    documents = [(path, read_machine_yaml(path)) for path in files]
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", output.stem).lstrip("0123456789_.-") or "machine"
    zigzag = [(path, data) for path, data in documents if "operational_array" in data]
    if zigzag:
        data, notes = zigzag_machine(*zigzag[0], name)
    elif any("architecture" in data for _, data in documents):
        data, notes = timeloop_machine(read_timeloop(documents), name)
    else:
        found = ", ".join(key for _, document in documents for key in document)[:60]
        raise TargetError(
            files[0], "file", found, "'architecture' (Timeloop) or 'operational_array' (ZigZag)"
        )
    notes = list(dict.fromkeys(notes))
    origin = ", ".join(path.name for path in files)
    head = [f"Imported from {origin}. Assumed, or not translated:", *(f"- {n}" for n in notes)]
    text = "".join(f"# {' '.join(line.split())}\n" for line in head)
    try:
        body = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, width=100)
        output.write_text(text + body, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or "unwritable"
        raise TargetError(output, "file", reason, "a file that can be written") from None
    return Imported(output, load_target(output), tuple(notes))
