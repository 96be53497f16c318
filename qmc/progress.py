"""A progress display: one line per stage on a terminal, silent otherwise."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

#: Called with (done, total) while a stage works.
Tick = Callable[[int, int], None]


def no_tick(done: int, total: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Shows the stages of a compilation on ``console`` when that is a terminal."""

    console: Console

    @contextlib.contextmanager
    def stage(self, title: str) -> Iterator[Tick]:
        """Show ``title`` with a bar until the block ends, then its time."""
        if not self.console.is_terminal:
            yield no_tick
            return
        began = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
        with Progress(
            *columns, TimeElapsedColumn(), console=self.console, transient=True
        ) as progress:
            task = progress.add_task(f"{title:<34}", total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        self.console.print(f"[green]✓[/] {title:<34} {time.monotonic() - began:6.1f} s")
