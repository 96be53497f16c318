"""Reading a description file: plain, bounded YAML without aliases or repeated keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from qmc.errors import TargetError

#: A description is a few KB; anything much larger is a mistake.
MAX_BYTES = 1 << 20


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses aliases (they can blow up) and repeated keys (the first is lost)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); aliases are not allowed, write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(
                    problem=f"key {key!r} is not a string", problem_mark=key_node.start_mark
                )
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key '{key}' appears twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> tuple[dict[str, Any], bytes]:
    """The top-level mapping of a file, and its bytes.

    Raises:
        TargetError: unreadable, too large, not YAML, or not a mapping.
    """
    raw = _read(path)
    try:
        data = yaml.load(raw, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "file"
        raise TargetError(path, where, error.problem, "plain YAML") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise TargetError(path, "file", str(error)[:80], "plain YAML") from error
    if not isinstance(data, dict):
        raise TargetError(path, "file", type(data).__name__, "a mapping of keys to values")
    return data, raw


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TargetError(
            path, "file", error.strerror or "unreadable", "a readable file"
        ) from error
    if len(raw) > MAX_BYTES:
        raise TargetError(
            path, "file size", f"over {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes"
        )
    return raw
