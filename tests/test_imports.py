"""Imports point one way, TVM stays in its corner, and the command line starts light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "qmc"

#: The core, from the nouns outward: a stage may use itself and the stages before it.
STAGES = (
    ("errors", "layer", "network", "packing", "arithmetic", "integer", "scheme"),
    ("targets",),
    ("mapping",),
    ("cost_models",),
    ("search",),
)
OUTER = {"codegen", "frontend", "passes", "compiler", "cli"}
TVM_PLACES = {"frontend", "relax_importer", "passes", "rpc", "tvm"}
HEAVY = {"tvm", "onnx", "onnxruntime", "numba", "scipy", "xgboost", "PIL", "pydantic"}


def module_name(path: Path) -> str:
    """``qmc.targets.target`` of ``qmc/targets/target.py``; a package has its own name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources() -> dict[str, ast.Module]:
    """Parsed modules of the package by name, the linked folders included."""
    folders = [PACKAGE, *(path for path in sorted(PACKAGE.iterdir()) if path.is_dir())]
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    return {module_name(file): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def imported_names(module: str) -> Iterator[str]:
    """Every dotted name that a module imports, at its top or in a function."""
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def reached(module: str) -> frozenset[str]:
    """Modules of qmc that a module needs, directly or through others, itself included."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in found and current != "qmc":  # qmc/__init__.py imports on first use only
            found.add(current)
            names = set(imported_names(current)) | {current.rpartition(".")[0]}
            waiting.extend(name for name in names if name in sources())
    return frozenset(found)


def part(module: str) -> str:
    """``targets`` of ``qmc.targets.target``."""
    return module.split(".")[1] if "." in module else module


def modules_of(*parts: str) -> list[str]:
    return [module for module in sources() if part(module) in parts]


@pytest.mark.parametrize("stage", range(len(STAGES)))
def test_core_stage_needs_no_later_stage(stage: int) -> None:
    later = OUTER.union(*STAGES[stage + 1 :])
    for module in modules_of(*STAGES[stage]):
        wrong = {name for name in reached(module) if part(name) in later}
        assert not wrong, f"{module} needs {sorted(wrong)}"


@pytest.mark.parametrize(
    ("place", "forbidden"),
    [
        ("codegen", {"search", "cost_models", "frontend", "passes", "compiler", "cli"}),
        ("passes", {"targets", "mapping", "cost_models", "search", "codegen", "compiler", "cli"}),
        ("frontend", {"targets", "mapping", "cost_models", "search", "codegen", "compiler", "cli"}),
        ("compiler", {"cli"}),
    ],
)
def test_outer_part_needs_only_its_inputs(place: str, forbidden: set[str]) -> None:
    assert modules_of(place)
    for module in modules_of(place):
        wrong = {name for name in reached(module) if part(name) in forbidden}
        assert not wrong, f"{module} needs {sorted(wrong)}"


def test_tvm_is_imported_in_front_end_passes_and_adapter_only() -> None:
    users = {
        part(module)
        for module in sources()
        if any(name.split(".")[0] in {"tvm", "tvm_ffi"} for name in imported_names(module))
    }
    assert users <= TVM_PLACES


def test_linked_folders_are_imported_by_their_full_names() -> None:
    roots = {
        (module, name)
        for module in sources()
        for name in imported_names(module)
        if name.split(".")[0] in {"passes", "targets", "cost_models", "third_party"}
    }
    assert not roots


@pytest.mark.parametrize("statement", ["import qmc", "import qmc.cli"])
def test_start_loads_no_heavy_library(statement: str) -> None:
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,  # so that a checkout without an installation is found
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "qmc" in loaded
    assert not loaded & HEAVY
