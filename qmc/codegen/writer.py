"""Indented C text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Writer:
    """Collects lines of C; blocks indent."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 0

    def line(self, text: str = "") -> None:
        """Add one line."""
        self._lines.append("    " * self._depth + text if text else "")

    def lines(self, text: str) -> None:
        """Add several lines."""
        for line in text.splitlines():
            self.line(line)

    def amend(self, text: str) -> None:
        """Add ``text`` to the end of the last line."""
        self._lines[-1] += text

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """``head {`` ... ``}``; without a head the brace alone."""
        self.line(f"{head} {{" if head else "{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    @contextmanager
    def loop(self, index: str, extent: int, comment: str = "", steps: str = "") -> Iterator[None]:
        """``for (int index = 0; index < extent; index++)``.

        Where ``steps`` is not empty, it is the C expression of how many steps there are.
        """
        start, end = (f", {index}_steps = {steps}", f"{index}_steps") if steps else ("", extent)
        self.line(
            f"for (int {index} = 0{start}; {index} < {end}; {index}++) {{"
            + (f" /* {comment} */" if comment else "")
        )
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    def text(self) -> str:
        """Everything written so far."""
        return "".join(f"{line}\n" for line in self._lines)


def linear(terms: list[tuple[str, int]]) -> str:
    """The C expression ``a*1 + b*12``; terms of stride 0 vanish."""
    parts = [index if stride == 1 else f"{index}*{stride}" for index, stride in terms if stride]
    return " + ".join(parts) if parts else "0"
