"""The golden vectors of a build, read back: their index, and each of them as bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from qmc.codegen.golden import INDEX
from qmc.errors import DataError
from qmc.packing import storage_bytes
from qmc.yaml_input import check_data


def load_index(folder: Path) -> dict[str, Any]:
    """The list of golden vectors.

    Raises:
        DataError: it is missing or damaged.
    """
    path = folder / INDEX
    try:
        data = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot read the golden vectors: {error}") from error
    return check_data(data, _Index, path, DataError).model_dump()


class _Vector(BaseModel):
    """A golden vector: where it lies, and what it holds."""

    file: str
    shape: list[Annotated[int, Field(ge=1, le=1 << 20)]] = Field(min_length=1, max_length=4)
    bits: int = Field(ge=1, le=16)


class _LayerVector(_Vector):
    name: str
    op: str
    inputs: list[str] = []


class _Index(BaseModel):
    cases: int = Field(ge=1, le=1 << 20)
    input: _Vector
    layers: list[_LayerVector] = Field(min_length=1)


def vector_size(tensor: dict[str, Any]) -> int:
    """Bytes of a tensor of the index."""
    return storage_bytes(tuple(tensor["shape"]), tensor["bits"])


def golden_vector(folder: Path, case: int, tensor: dict[str, Any]) -> bytes:
    """A tensor of a golden input as it lies in memory; ``tensor`` is an entry of the index.

    Raises:
        DataError: it is missing or has another size.
    """
    path = folder / "golden" / str(case) / Path(tensor["file"]).name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from error
    if len(data) != vector_size(tensor):
        raise DataError(
            f"{path}: {len(data)} bytes; {tensor['shape']} of {tensor['bits']} bits packs to "
            f"{vector_size(tensor)}"
        )
    return data
