"""The folder that ``qmc explore`` makes: its front and the schemes of its plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qmc.errors import DataError
from qmc.yaml_input import read_yaml

Json = dict[str, Any]

#: File by which such a folder is known.
FRONT = "front.json"
_MAX_BYTES = 64 << 20


def load_front(folder: Path) -> Json:
    """The object of front.json.

    Raises:
        DataError: it is missing, damaged, or no front of qmc.
    """
    path = folder / FRONT
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES} bytes")
        front = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(front, dict) or not {"network", "target", "points"} <= front.keys():
        raise DataError(f"{path}: not a front of qmc; allowed: network, target, points")
    return front


def plan_schemes(folder: Path, front: Json) -> list[Json | None]:
    """scheme.yaml beside each plan; None where a plan has none inside ``folder``."""
    return [_scheme(folder, point.get("plan")) for point in front["points"]]


def _scheme(folder: Path, plan: object) -> Json | None:
    if not isinstance(plan, str):
        return None
    path = (folder / plan).parent / "scheme.yaml"
    if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
        return None
    scheme = read_yaml(path, DataError)
    return scheme if isinstance(scheme, dict) else None
