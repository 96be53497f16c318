"""Files kept between runs: where they lie, and how they are written and read.

Entries are only ever added, each written to a temporary file and renamed, so that other processes
and a kill at any moment see a whole entry or none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Folder of the cache; set but empty turns it off.
CACHE_VARIABLE = "QMC_CACHE_DIR"
_DIGEST_BYTES = 32


def cache_folder() -> Path | None:
    """``$QMC_CACHE_DIR``, else ``qmc`` in the user's cache folder (XDG); None when turned off."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return None
    return root / "qmc"


def cache_key(*parts: object) -> str:
    """A name for an entry: the hash of what decides its content."""
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()


def _canonical(value: object) -> str:
    """Text of plain data that is the same in every process: sets and dicts are sorted."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return f"{type(value).__name__}({_canonical(tuple(items))})"
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(_canonical(item) for item in value.items())) + "}"
    if isinstance(value, frozenset | set):
        return "<" + ",".join(sorted(map(_canonical, value))) + ">"
    if isinstance(value, tuple | list):
        return "(" + ",".join(map(_canonical, value)) + ")"
    return repr(value)


def load(key: str) -> Any:
    """The entry of that key; None when there is none, or what is there is not whole."""
    path = _entry(key)
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None


def store(key: str, value: Any) -> None:
    """Keep ``value``, JSON-able plain data; a folder that cannot be written is no error."""
    path = _entry(key)
    if path is None:
        return
    body = json.dumps(value).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(body).digest() + body)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)


def _entry(key: str) -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "mappings" / key[:2] / key
