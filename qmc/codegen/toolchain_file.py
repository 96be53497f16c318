"""``toolchain.json`` of an emitted folder: how its program is compiled and run elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qmc.errors import BuildError
from qmc.targets import Toolchain

TOOLCHAIN_FILE = "toolchain.json"


def toolchain_text(toolchain: Toolchain) -> str:
    """The file's text."""
    return json.dumps(asdict(toolchain), indent=1) + "\n"


def load_toolchain(folder: Path) -> Toolchain | None:
    """The toolchain of an emitted folder; None where it is built as on this computer.

    Raises:
        BuildError: the file is damaged.
    """
    path = folder / TOOLCHAIN_FILE
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_text(encoding="ascii"))
        fields: dict[str, Any] = {
            key: value if isinstance(value, str) else tuple(value) for key, value in data.items()
        }
        return Toolchain(**fields)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BuildError(f"{path}: not a toolchain: {error}") from error
