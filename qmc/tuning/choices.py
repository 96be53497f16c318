"""tuning.yaml: how the kernels of a network are built, layer by layer; written by ``qmc tune``."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from qmc.codegen.vector.knobs import MOST_PIXELS, NO_KNOBS, Knobs, Outside, Unpack
from qmc.errors import DataError
from qmc.network import Network
from qmc.targets import KernelFamily, Target
from qmc.yaml_input import check_data, read_yaml

_SCHEMA_VERSION = 1
#: In a build that was tuned.
TUNING_FILE = "tuning.yaml"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _KnobsSpec(_Model):
    vectors: Annotated[int, Field(ge=0, le=4)] = 0
    pixels: Annotated[int, Field(ge=0, le=MOST_PIXELS)] = 0
    outside: Outside = Outside.DEFAULT
    unpack: Unpack = Unpack.DEFAULT
    strip_bytes: Annotated[int, Field(ge=0, le=1 << 30)] = 0
    prefetch_kib: Annotated[int, Field(ge=0, le=1024)] = 0
    widest: Literal[0, 16, 32, 64] = 0


class _TargetSpec(_Model):
    name: str
    sha256: str


class _TuningSpec(_Model):
    schema_version: Literal[1]
    target: _TargetSpec
    layers: dict[str, _KnobsSpec]


def tuning_text(target: Target, knobs: Dict[str, Knobs]) -> str:
    """The file: layers that differ from the defaults."""
    layers = {name: one.to_data() for name, one in knobs.items() if one != NO_KNOBS}
    data = {
        "schema_version": _SCHEMA_VERSION,
        "target": {"name": target.name, "sha256": target.sha256},
        "layers": layers,
    }
    return yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True)


def read_tuning(path: Path, network: Network, target: Target) -> dict[str, Knobs]:
    """Knobs by layer name; those of another machine are fine if its kernels can follow them.

    Raises:
        DataError: the file is none of these, or does not fit the network or the machine.
    """
    spec = check_data(read_yaml(path, DataError), _TuningSpec, path, DataError)
    if target.kernels is None:
        raise DataError(f"{path}: target '{target.name}' has no vector kernels to be tuned")
    names = {layer.name for layer in network.layers}
    found = {}
    for name, one in spec.layers.items():
        if name not in names:
            raise DataError(f"{path}: layers: found {name!r}; allowed: layers of {network.name}")
        found[name] = Knobs(
            one.vectors,
            one.pixels,
            one.outside,
            one.unpack,
            one.strip_bytes,
            one.prefetch_kib,
            one.widest,
        )
        _check(path, name, found[name], target.kernels)
    return found


def _check(path: Path, name: str, knobs: Knobs, family: KernelFamily) -> None:
    most = len(family.pixels)
    if knobs.vectors > most:
        raise DataError(f"{path}: {name}: vectors: found {knobs.vectors}; allowed: up to {most}")
    if knobs.widest and knobs.widest not in family.depthwise_bytes:
        allowed = ", ".join(map(str, family.depthwise_bytes))
        raise DataError(f"{path}: {name}: widest: found {knobs.widest}; allowed: {allowed}")
