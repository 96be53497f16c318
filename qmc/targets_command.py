"""``qmc targets``: the machines qmc knows, and one machine as a person wants to read it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qmc.targets import list_targets, load_target
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
