"""``qmc report``: the page beside a build or a front, and the object it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import UndefinedError
from rich.console import Console
from rich.text import Text

from qmc.console import printable
from qmc.edited_files import as_written
from qmc.html.front_files import FRONT, load_front
from qmc.html.page import write_page
from qmc.plan import load_report


def write_report(folder: Path) -> tuple[dict[str, Any], Path]:
    """Write the page.

    Returns:
        The object of report.json, or of front.json, and the page's path.

    Raises:
        DataError: ``folder`` is not one made by qmc, or is damaged.
        OutputError: the page cannot be written.
    """
    data = load_front(folder) if (folder / FRONT).is_file() else load_report(folder)
    with as_written(folder, signs=(UndefinedError,)):
        return data, write_page(folder)


def print_page(page: Path, console: Console) -> None:
    """Say where the page is."""
    console.print(Text(f"wrote {printable(str(page))}; open it in a browser"), soft_wrap=True)
