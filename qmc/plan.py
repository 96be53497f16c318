"""plan.yaml: everything chosen for a network, and the reading of finished builds."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field

import qmc
from qmc.arithmetic import QuantParams
from qmc.errors import DataError
from qmc.integer import IntegerNetwork
from qmc.labels import read_class_names
from qmc.mapping_text import mapping_to_data
from qmc.options import Options
from qmc.preprocess import Preprocess, load_preprocess
from qmc.search_result import Factors, SearchResult
from qmc.targets import Target
from qmc.yaml_input import check_data, read_yaml

PLAN_SCHEMA_VERSION = 1
#: Refuse plans and reports larger than this; ours stay far below.
_MAX_BYTES = 256 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def plan_text(
    options: Options,
    target: Target,
    network: IntegerNetwork,
    results: Mapping[str, SearchResult],
) -> str:
    """The plan as YAML: model, target, options that decide the bytes, and every mapping.

    With scheme.yaml beside it, ``qmc compile MODEL --target T --scheme scheme.yaml`` gives the same
    bytes again, unless a budget of time cut a search short.
    """
    plan = {
        "schema_version": PLAN_SCHEMA_VERSION,
        "qmc": qmc.__version__,
        "model": {"file": options.model.name, "sha256": file_sha256(options.model)},
        "target": {"name": target.name, "sha256": target.sha256},
        "options": {
            "optimize": options.optimize.value,
            "mapper": options.mapper.value,
            **_factors(options),
            "cost_model": file_sha256(options.cost_model) if options.cost_model else None,
            **_tuning(options),
            **({"variants": list(options.variants)} if options.variants else {}),
            "budget_seconds": options.budget_seconds,
            "max_latency": options.max_latency,
            "rounding": options.rounding.value,
            "equalize": options.equalize,
            "seed": options.seed,
        },
        "input": _tensor_data(network, network.input),
        "output": _tensor_data(network, network.output),
        "mappings": {name: mapping_to_data(found.mapping) for name, found in results.items()},
    }
    return yaml.safe_dump(
        plan, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    )


def _factors(options: Options) -> dict[str, str]:
    """The factors asked for, if they are not the perfect ones."""
    perfect = options.factors is Factors.PERFECT
    return {} if perfect else {"factors": options.factors.value}


def _tuning(options: Options) -> dict[str, str]:
    """The hash of the file of knobs, if there is one."""
    return {} if options.tuning is None else {"tuning": file_sha256(options.tuning)}


def _tensor_data(network: IntegerNetwork, name: str) -> dict[str, Any]:
    params = network.quantization[name]
    return {
        "name": name,
        "shape": list(network.tensors[name].shape),
        "bits": params.bits,
        "scale": params.scale,
        "zero_point": params.zero_point,
    }


def load_plan(build: Path) -> dict[str, Any]:
    """The plan of a finished build.

    Raises:
        DataError: ``build`` is not a folder made by qmc.
    """
    path = build / "plan.yaml"
    if not path.is_file():
        raise DataError(f"{build}: not a folder made by qmc compile: it has no plan.yaml")
    plan = read_yaml(path, DataError)
    if not isinstance(plan, dict) or plan.get("schema_version") != PLAN_SCHEMA_VERSION:
        raise DataError(f"{build / 'plan.yaml'}: not a plan of schema {PLAN_SCHEMA_VERSION}")
    return plan


def load_report(build: Path) -> dict[str, Any]:
    """The report of a finished build.

    Raises:
        DataError: ``build`` is not a folder made by qmc.
    """
    try:
        report = json.loads(
            _read(build, "report.json"), parse_int=_whole, parse_float=_real, parse_constant=_real
        )
    except (ValueError, RecursionError) as error:
        raise DataError(f"{build / 'report.json'}: not JSON: {error}") from error
    if not isinstance(report, dict) or not {"network", "layers", "target"} <= report.keys():
        raise DataError(f"{build / 'report.json'}: not a report of qmc")
    return report


def _whole(text: str) -> int:
    if len(text) > 20 or abs(number := int(text)) >= 1 << 63:
        raise ValueError(f"found {text:.20}, which leaves 64 bits")
    return number


def _real(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"found {text:.20}, which is not finite")
    return number


@dataclass(frozen=True, slots=True)
class BuildIo:
    """What it takes to feed a build's program and to read its answer.

    Attributes:
        input_shape, output_shape: ONNX shapes.
        input, output: quantization.
        preprocess: from image to input.
        class_names: one per output.
    """

    input_shape: tuple[int, ...]
    input: QuantParams
    output_shape: tuple[int, ...]
    output: QuantParams
    preprocess: Preprocess
    class_names: tuple[str, ...]


class _Tensor(BaseModel):
    shape: list[Annotated[int, Field(ge=1, le=1 << 20)]] = Field(min_length=2, max_length=4)
    bits: int = Field(ge=1, le=16)
    scale: float = Field(gt=0, allow_inf_nan=False)
    zero_point: int = Field(ge=0)


class _Ends(BaseModel):
    input: _Tensor
    output: _Tensor


def load_io(build: Path) -> BuildIo:
    """Input, output and class names of a finished build.

    Raises:
        DataError: ``build`` is not a folder made by qmc, or was damaged.
    """
    plan = load_plan(build)
    path = build / "plan.yaml"
    ends = check_data({key: plan.get(key) for key in ("input", "output")}, _Ends, path, DataError)
    source, target = ends.input, ends.output
    try:
        params = [QuantParams(t.bits, t.scale, t.zero_point) for t in (source, target)]
    except ValueError as error:
        raise DataError(f"{path}: input or output: {error}") from error
    own = build / "preprocess.yaml"
    preprocess = load_preprocess(own, own) if own.is_file() else None
    names = read_class_names(build / "labels.txt", math.prod(target.shape))
    shapes = tuple(source.shape), tuple(target.shape)
    return BuildIo(shapes[0], params[0], shapes[1], params[1], preprocess or Preprocess(), names)


def _read(build: Path, name: str) -> str:
    path = build / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{build}: not a folder made by qmc compile ({name}: {error})") from error
