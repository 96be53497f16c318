"""plan.yaml: everything chosen for a network, and the reading of finished builds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import qmc
from qmc.errors import DataError
from qmc.mapping_text import mapping_to_data
from qmc.options import Options
from qmc.search import SearchResult
from qmc.targets import Target

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
    preprocess: Mapping[str, Any] | None,
    results: Mapping[str, SearchResult],
) -> str:
    """The plan as YAML: model, target, options that decide the bytes, and every mapping.

    With scheme.yaml beside it, ``qmc compile MODEL --target T --scheme scheme.yaml`` gives the same
    bytes again.
    """
    plan = {
        "schema_version": PLAN_SCHEMA_VERSION,
        "qmc": qmc.__version__,
        "model": {"file": options.model.name, "sha256": file_sha256(options.model)},
        "target": {"name": target.name, "sha256": target.sha256},
        "options": {
            "optimize": options.optimize.value,
            "mapper": options.mapper.value,
            "rounding": options.rounding.value,
            "equalize": options.equalize,
            "seed": options.seed,
        },
        "preprocess": preprocess,
        "mappings": {name: mapping_to_data(found.mapping) for name, found in results.items()},
    }
    return yaml.safe_dump(plan, sort_keys=False, width=100, allow_unicode=True)


def load_plan(build: Path) -> dict[str, Any]:
    """The plan of a finished build.

    Raises:
        DataError: ``build`` is not a folder made by qmc.
    """
    plan = yaml.safe_load(_read(build, "plan.yaml"))
    if not isinstance(plan, dict) or plan.get("schema_version") != PLAN_SCHEMA_VERSION:
        raise DataError(f"{build / 'plan.yaml'}: not a plan of schema {PLAN_SCHEMA_VERSION}")
    return plan


def load_report(build: Path) -> dict[str, Any]:
    """The report of a finished build.

    Raises:
        DataError: ``build`` is not a folder made by qmc.
    """
    try:
        report = json.loads(_read(build, "report.json"))
    except ValueError as error:
        raise DataError(f"{build / 'report.json'}: not JSON: {error}") from error
    if not isinstance(report, dict) or not {"network", "layers", "target"} <= report.keys():
        raise DataError(f"{build / 'report.json'}: not a report of qmc")
    return report


def _read(build: Path, name: str) -> str:
    path = build / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than {_MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{build}: not a folder made by qmc compile ({name}: {error})") from error
