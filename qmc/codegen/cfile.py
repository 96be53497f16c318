"""One emitted file."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CFile:
    """A file of the emitted folder.

    Attributes:
        name: path inside the folder, with forward slashes.
        content: its bytes.
    """

    name: str
    content: bytes

    @property
    def text(self) -> str:
        """The content of a text file."""
        return self.content.decode("ascii")
