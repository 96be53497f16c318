"""Timeloop's machine files as flat lists: components, energies and constraints.

Version 0.3 nests (``subtree``, ``local``, names such as ``PE[0..15]``); 0.4 lists ``nodes`` with
tags (``!Component``, ``!Container``) or, as Timeloop prints it back, one flat ``local`` list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qmc.errors import TargetError
from qmc.targets.yaml_file import MAX_BYTES
from qmc.timeloop import OPERANDS

Json = dict[str, Any]
_RANGE = re.compile(r"^(?P<name>[^\[\]]+)(?:\[(?P<low>\d+)\.\.(?P<high>\d+)\])?$")
_CONSTRAINTS = ("architecture_constraints", "mapspace_constraints", "constraints")
_MAX_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Component:
    """A memory, fan-out or arithmetic unit, attributes of its containers included.

    Attributes:
        name: without its range.
        kind: Timeloop's class.
        attributes: by name, '-' written as '_'.
        instances: in the whole machine.
        width: instances along the x axis of the machine.
        constraints: written beside it (0.4): each with its ``type``.
    """

    name: str
    kind: str
    attributes: Json
    instances: int
    width: int
    constraints: tuple[Json, ...] = ()


@dataclass(slots=True)
class TimeloopFiles:
    """What a set of files says together.

    Attributes:
        components: outermost first.
        energies: pJ by component, then action.
        constraints: by component and type; later files add to earlier ones.
        cycle_seconds: of a clock cycle, where a file says so.
    """

    components: list[Component] = field(default_factory=list)
    energies: dict[str, dict[str, float]] = field(default_factory=dict)
    constraints: dict[tuple[str, str], list[Json]] = field(default_factory=dict)
    cycle_seconds: float | None = None


class _Loader(yaml.SafeLoader):
    """Safe YAML that keeps the tag of a mapping under ``tag`` and refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name); write the value out")
        return super().compose_node(parent, index)


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> object:
    if not isinstance(node, yaml.MappingNode):
        return None
    return {"tag": suffix, **loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


def read_machine_yaml(path: Path) -> Json:
    """The top-level mapping of a file of another tool.

    Raises:
        TargetError: unreadable, too large, no plain YAML or no mapping.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TargetError(path, "file size", f"over {MAX_BYTES}", f"at most {MAX_BYTES} bytes")
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise TargetError(path, "file", error.strerror or "unreadable", "a readable file") from None
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise TargetError(path, "file", str(error)[:120], "plain YAML") from None
    if not isinstance(data, dict):
        raise TargetError(path, "file", type(data).__name__, "a mapping of keys to values")
    return data


def read_timeloop(documents: Iterable[tuple[Path, Json]]) -> TimeloopFiles:
    """Architecture, energy table (ERT) and constraints of several files.

    Raises:
        TargetError: a part does not have the form of its version.
    """
    found = TimeloopFiles()
    for path, data in documents:
        try:
            _add(found, path, data)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            allowed = "Timeloop v0.3 or v0.4 architecture, ERT or constraints"
            raise TargetError(path, "file", f"{type(error).__name__} {error}", allowed) from None
    return found


def _add(found: TimeloopFiles, path: Path, data: Json) -> None:
    if "architecture" in data:
        if found.components:
            raise TargetError(path, "architecture", "a second one", "one architecture")
        _add_architecture(found, path, data["architecture"])
    for table in data.get("ERT", {}).get("tables", ()):
        name = _last_name(str(table["name"]))
        found.energies[name] = {
            action["name"]: float(action["energy"]) for action in table["actions"]
        }
        for action in table["actions"]:
            _note_cycle(found, action.get("arguments") or {})
    for key in _CONSTRAINTS:
        entry = data.get(key) or {}
        for item in entry.get("targets", ()) if isinstance(entry, dict) else entry:
            _add_constraint(found, str(item["target"]), item)


def _add_architecture(found: TimeloopFiles, path: Path, architecture: Json) -> None:
    if "nodes" in architecture:
        _walk_nodes(found, architecture["nodes"], _Place(), parallel=False)
    else:
        for node in architecture.get("subtree", ()):
            _walk_tree(found, path, node, 1, {}, 0)
    for component in found.components:
        for item in component.constraints:
            _add_constraint(found, component.name, item)


def _walk_tree(
    found: TimeloopFiles, path: Path, node: Json, copies: int, inherited: Json, depth: int
) -> None:
    if depth > _MAX_DEPTH:
        raise TargetError(path, "architecture", "a deep tree", f"at most {_MAX_DEPTH} levels")
    _, count = _split_range(str(node.get("name", "node")))
    inherited = inherited | _attributes(node)
    for local in node.get("local", ()):
        _note_cycle(found, inherited)
        name, own = _split_range(str(local["name"]))
        attributes = inherited | _attributes(local)
        instances = copies * count * own
        width = int(attributes.get("meshX", instances))
        kind = str(local.get("class", ""))
        found.components.append(Component(name, kind, attributes, instances, width))
    for child in node.get("subtree", ()):
        _walk_tree(found, path, child, copies * count, inherited, depth + 1)


@dataclass(slots=True)
class _Place:
    """Where a walk over nodes stands: copies so far, attributes of the containers around."""

    instances: int = 1
    width: int = 1
    inherited: Json = field(default_factory=dict)


def _walk_nodes(found: TimeloopFiles, nodes: list[Json], place: _Place, parallel: bool) -> None:
    """Nodes of 0.4: each is inside the one before; those of ``!Parallel`` stand side by side.

    The ``spatial`` of a node makes copies of it and of all that follows, so its constraint limits
    the fan-out of the node before.
    """
    for node in nodes:
        if "nodes" in node:
            _walk_nodes(found, node["nodes"], place, node.get("tag") == "Parallel")
        elif "name" in node:
            _add_node(found, node, place, parallel)


def _add_node(found: TimeloopFiles, node: Json, place: _Place, parallel: bool) -> None:
    spatial = node.get("spatial") or {}
    mesh_x, mesh_y = int(spatial.get("meshX", 1)), int(spatial.get("meshY", 1))
    place.instances *= mesh_x * mesh_y
    place.width *= mesh_x
    attributes = place.inherited | _attributes(node)
    _note_cycle(found, attributes)
    container = node.get("tag") == "Container"
    if container:
        place.inherited = attributes
    name, _ = _split_range(str(node["name"]))
    limits = dict(node.get("constraints") or {})
    if parallel:  # what a neighbour keeps passes it by
        limits["dataspace"] = _only_kept(limits.get("dataspace") or {})
    if "spatial" in limits and found.components:
        outside = found.components[-1].name
        _add_constraint(found, outside, {"type": "spatial", **limits.pop("spatial")})
    items = tuple({"type": kind, **item} for kind, item in limits.items())
    kind = "dummy_storage" if container else str(node.get("class", ""))
    found.components.append(Component(name, kind, attributes, place.instances, place.width, items))


def _only_kept(dataspace: Json) -> Json:
    keep = list(dataspace.get("keep") or ())
    return {"keep": keep, "bypass": [name for name in OPERANDS if name not in keep]}


def _attributes(node: Json) -> Json:
    return {
        str(key).replace("-", "_"): value for key, value in (node.get("attributes") or {}).items()
    }


def _note_cycle(found: TimeloopFiles, attributes: Json) -> None:
    seconds = attributes.get("global_cycle_seconds")
    if seconds is not None:
        found.cycle_seconds = float(seconds)


def _split_range(text: str) -> tuple[str, int]:
    """``PE[0..15]`` as its name and 16."""
    match = _RANGE.match(text.strip())
    if match is None:
        raise ValueError(f"name {text!r}")
    if match["low"] is None:
        return match["name"], 1
    return match["name"], int(match["high"]) - int(match["low"]) + 1


def _last_name(path: str) -> str:
    """``mac`` of ``system.PE[0..167].mac``."""
    return re.sub(r"\[[^\]]*\]", "", path).rpartition(".")[2]


def _add_constraint(found: TimeloopFiles, target: str, item: Json) -> None:
    name = _last_name(target)
    kind = str(item.get("type"))
    kind = "dataspace" if kind in {"bypass", "datatype", "dataspace", "bypassing"} else kind
    found.constraints.setdefault((name, kind), []).append(item)
