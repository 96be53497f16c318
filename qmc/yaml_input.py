"""Reading YAML that a user wrote: size, syntax and schema are checked, errors are one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from qmc.errors import QmcError

#: Far above any scheme of ours (EfficientNet-Lite0's has 0.6 MB).
_MAX_BYTES = 64 << 20
#: Likewise; libyaml's time grows with the square of the depth.
_DEEPEST = 64
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, error: type[QmcError]) -> Any:
    """The plain data in a YAML file.

    Aliases are refused, a few nested ones expand without limit, and so is deep nesting.

    Raises:
        QmcError: of class ``error``; the file cannot be read, is too large or is not YAML.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise error(f"{path}: larger than {_MAX_BYTES >> 20} MiB")
        return parse_yaml(path.read_text(encoding="utf-8"), path, error)
    except OSError as cause:
        raise error(f"{path}: cannot be read: {cause.strerror or cause}") from None
    except UnicodeDecodeError as cause:
        raise error(f"{path}: not valid YAML: {cause}") from None


def parse_yaml(text: str, path: Path, error: type[QmcError]) -> Any:
    """The plain data in YAML text that came from ``path``; as :func:`read_yaml`.

    Raises:
        QmcError: of class ``error``; the text is too large or not YAML.
    """
    if len(text) > _MAX_BYTES:
        raise error(f"{path}: larger than {_MAX_BYTES >> 20} MiB")
    try:
        _check_events(text, path, error)
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as cause:
        raise error(f"{path}: not valid YAML: {cause}") from None


def _check_events(text: str, path: Path, error: type[QmcError]) -> None:
    """Refuse aliases and deep nesting, before anything is built of the text."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise error(f"{path}: YAML aliases are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise error(f"{path}: nested more than {_DEEPEST} deep")


def check_data(data: Any, model: type[Model], path: Path, error: type[QmcError]) -> Model:
    """``data`` as an instance of ``model``.

    Raises:
        QmcError: of class ``error``, naming file, key, value found and what is allowed.
    """
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        first = cause.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "document"
        found = repr(first["input"])
        found = found if len(found) <= 80 else found[:77] + "..."
        raise error(f"{path}: {key}: found {found}; {first['msg']}") from None
