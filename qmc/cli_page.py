"""The tables of docs/cli.md, from the commands: ``python -m qmc.cli_page`` rewrites them.

A table stands between ``<!-- qmc:NAME -->`` and ``<!-- /qmc -->``, NAME a command, ``commands`` for
the list of all of them; the prose around it is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer.main

from qmc.cli import app

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
_TABLE = re.compile(r"(<!-- qmc:(.+?) -->\n).*?(<!-- /qmc -->)", re.DOTALL)
#: Flags that the page tells once for all commands.
_EVERYWHERE = {"--help", "--json"}


def commands() -> dict[str, Any]:
    """Every command by the words that call it: ``compile``, ``targets show``."""
    return dict(_commands("", typer.main.get_command(app)))


def cli_page(text: str) -> str:
    """``text`` with every table as the program has it now.

    Raises:
        KeyError: a table is of no command.
    """
    known = commands()

    def table(match: re.Match[str]) -> str:
        name = match[2]
        made = _list_of(known) if name == "commands" else _table_of(name, known[name])
        return f"{match[1]}\n{made}\n\n{match[3]}"

    return _TABLE.sub(table, text)


def tables(text: str) -> list[str]:
    """Names of the tables of a page."""
    return [match[2] for match in _TABLE.finditer(text)]


def _commands(prefix: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield prefix + name, command
        if hasattr(command, "commands"):
            yield from _commands(f"{prefix}{name} ", command)


def _list_of(known: dict[str, Any]) -> str:
    """Every command with its arguments and required flags, and what it does."""
    rows = []
    for name, command in known.items():
        words = [_usage(one) for one in command.params if one.required or _is_argument(one)]
        call = " ".join(["qmc", name, *words])
        rows.append((f"`{call}`", str(command.help or "").split("\n\n")[0]))
    return _rows(("command", "what it does"), rows)


def _table_of(name: str, command: Any) -> str:
    """Every argument and flag of a command: spelling, default, help."""
    types = get_type_hints(command.callback)
    rows = [
        (f"`{_spelling(one)}`", _default(one), _meaning(one, types[one.name]))
        for one in command.params
        if not _EVERYWHERE & set(one.opts)
    ]
    return _rows((f"`qmc {name}`", "default", "meaning"), rows)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _usage(parameter: Any) -> str:
    if not _is_argument(parameter):
        flag = parameter.opts[0]
        return f"{flag} {flag.lstrip('-').upper()}"
    return _spelling(parameter) if parameter.required else f"[{_spelling(parameter)}]"


def _spelling(parameter: Any) -> str:
    if _is_argument(parameter):
        return str(parameter.name).upper() + ("..." if parameter.nargs == -1 else "")
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    value = parameter.default
    if parameter.required:
        return "required"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None:
        return ""
    return f"`{value.value if isinstance(value, Enum) else value}`"


def _meaning(parameter: Any, kind: Any) -> str:
    """The help text, with the values that it does not tell."""
    enums = [one for one in (kind, *get_args(kind)) if isinstance(one, type)]
    values = [str(one.value) for enum in enums if issubclass(enum, Enum) for one in enum]
    if all(value in parameter.help for value in values):
        return str(parameter.help)
    return f"{parameter.help} One of {', '.join(values)}."


def _rows(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines: list[tuple[str, ...]] = [head, ("---",) * len(head), *rows]
    cells = [[_cell(text) for text in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cell(text: str) -> str:
    """As one line of Markdown in a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")


if __name__ == "__main__":
    PAGE.write_text(cli_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
