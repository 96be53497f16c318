"""``qmc targets``: list, show, check and import machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmc.machine_import import import_machine
from qmc.targets import check_target, list_targets, load_target
from qmc.targets.describe import describe_target, target_to_data

Json = dict[str, Any]


def targets_data() -> Json:
    """All machines that come with qmc."""
    return {"targets": [target_to_data(load_target(name)) for name in list_targets()]}


def print_targets(data: Json, console: Console) -> None:
    """One line per machine."""
    table = Table(box=None, pad_edge=False)
    for name in ("Target", "MACs", "Memories, outermost first", "Description"):
        table.add_column(name, overflow="fold")
    for target in data["targets"]:
        memories = " > ".join(memory["name"] for memory in target["memories"])
        table.add_row(target["name"], str(target["macs"]), memories, Text(target["description"]))
    console.print(table)


def target_data(name: str) -> Json:
    """One machine, with its description as text.

    Raises:
        TargetError: the name or the file is wrong.
    """
    target = load_target(name)
    return target_to_data(target) | {"text": describe_target(target)}


def print_target(data: Json, console: Console) -> None:
    """The description."""
    console.print(Text(data["text"]), soft_wrap=True)


def check_data(name: str) -> Json:
    """Every mistake of a description.

    Raises:
        TargetError: there is nothing to check: no such file, or no plain YAML.
    """
    mistakes = check_target(name)
    return {"target": name, "ok": not mistakes, "mistakes": list(mistakes)}


def print_check(data: Json, console: Console) -> None:
    """One line per mistake."""
    for mistake in data["mistakes"] or [f"{data['target']}: no mistakes"]:
        console.print(Text(mistake), soft_wrap=True)


def import_data(files: Sequence[Path], output: Path) -> Json:
    """Import a machine of another tool.

    Raises:
        TargetError: a file cannot be read or translated.
    """
    imported = import_machine(files, output)
    return target_to_data(imported.target) | {"file": str(output), "notes": list(imported.notes)}


def print_import(data: Json, console: Console) -> None:
    """What was written, and what to look at."""
    memories = " > ".join(memory["name"] for memory in data["memories"])
    console.print(Text(f"{data['file']}: {data['macs']} MACs, {memories}"), soft_wrap=True)
    if data["notes"]:
        console.print("Assumed, or not translated:")
    for note in data["notes"]:
        console.print(Text(f"  {note}"), soft_wrap=True)
