"""scheme.yaml: a scheme saved with every scale to the last bit, and read back with suspicion."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qmc.arithmetic import QuantParams, Rounding
from qmc.errors import SchemeError
from qmc.network import Network
from qmc.scheme import Scheme, WeightScheme
from qmc.yaml_input import check_data, read_yaml

SCHEMA_VERSION = 1

_Scale = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
_Finite = Annotated[float, Field(allow_inf_nan=False, strict=True)]


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Annotated[int, Field(ge=1, le=16, strict=True)]
    scale: _Scale
    zero_point: Annotated[int, Field(ge=0, strict=True)]


class _Weights(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Annotated[int, Field(ge=2, le=8, strict=True)]
    scales: list[_Scale]
    bias: list[_Finite] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1]
    rounding: Rounding = Rounding.HALF_UP
    tensors: dict[str, _Tensor]
    weights: dict[str, _Weights]
    notes: list[str] = []


def scheme_to_text(scheme: Scheme) -> str:
    """The scheme as YAML; the same scheme gives the same bytes."""
    lines = [f"schema_version: {SCHEMA_VERSION}", f"rounding: {scheme.rounding.value}", "tensors:"]
    for name, params in scheme.tensors.items():
        entry = f"bits: {params.bits}, scale: {_number(params.scale)}"
        lines.append(f"  {_text(name)}: {{{entry}, zero_point: {params.zero_point}}}")
    lines.append("weights:" if scheme.weights else "weights: {}")
    for name, weights in scheme.weights.items():
        lines += [f"  {_text(name)}:", f"    bits: {weights.bits}"]
        lines += _numbers("scales", weights.scales)
        lines += [] if weights.bias is None else _numbers("bias", weights.bias)
    lines.append("notes:" if scheme.notes else "notes: []")
    lines += [f"  - {_text(note)}" for note in scheme.notes]
    return "\n".join(lines) + "\n"


def load_scheme(path: Path, network: Network) -> Scheme:
    """Read a scheme that :func:`scheme_to_text` wrote, for ``network``.

    Raises:
        SchemeError: the file is wrong or belongs to another network.
    """
    return scheme_from_data(read_yaml(path, SchemeError), path, network)


def scheme_from_data(data: Any, path: Path, network: Network) -> Scheme:
    """Check plain data read from ``path`` and make a scheme of it.

    Raises:
        SchemeError: the data is wrong or belongs to another network.
    """
    file = check_data(data, _File, path, SchemeError)
    _check_names(path, "tensor", file.tensors, network.tensors)
    _check_names(path, "layer", file.weights, network.parameters)
    try:
        tensors = {
            name: QuantParams(entry.bits, entry.scale, entry.zero_point)
            for name, entry in file.tensors.items()
        }
    except ValueError as error:
        raise SchemeError(f"{path}: {error}") from None
    weights = {
        name: _weights(path, name, entry, len(network.parameters[name].bias))
        for name, entry in file.weights.items()
    }
    return Scheme(tensors, weights, file.rounding, tuple(file.notes))


def _weights(path: Path, name: str, entry: _Weights, channels: int) -> WeightScheme:
    for key, values in (("scales", entry.scales), ("bias", entry.bias)):
        if values is not None and len(values) != channels:
            raise SchemeError(
                f"{path}: weights.{name}.{key}: found {len(values)} numbers, the layer has "
                f"{channels} output channels"
            )
    bias = None if entry.bias is None else tuple(entry.bias)
    return WeightScheme(entry.bits, tuple(entry.scales), bias)


def _check_names(path: Path, kind: str, found: Iterable[str], known: Iterable[str]) -> None:
    wrong = sorted(set(found) ^ set(known))
    if wrong:
        state = "is not in the network" if wrong[0] in found else "has no entry"
        raise SchemeError(f"{path}: {kind} '{wrong[0]}' {state}; the scheme is of another network")


def _numbers(key: str, values: Iterable[float]) -> list[str]:
    texts = [_number(value) for value in values]
    rows = [", ".join(texts[first : first + 4]) for first in range(0, len(texts), 4)]
    return [f"    {key}: [", *(f"      {row}," for row in rows), "    ]"]


def _number(value: float) -> str:
    """The shortest text that reads back as the same double; YAML 1.1 wants a point."""
    text = repr(float(value))
    return text if "." in text else text.replace("e", ".0e")


def _text(text: str) -> str:
    return json.dumps(text)  # a JSON string is a YAML string
