"""qmc: a quantization-mapping compiler. ONNX in; widths, mappings and integer C out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qmc.compiler import compile_model as compile
    from qmc.targets import load_target
    from qmc.tvm.partition import from_onnx, partition_for_qmc

__all__ = ["__version__", "compile", "from_onnx", "load_target", "partition_for_qmc"]

_HOMES = {
    "compile": ("qmc.compiler", "compile_model"),
    "from_onnx": ("qmc.tvm.partition", "from_onnx"),
    "load_target": ("qmc.targets", "load_target"),
    "partition_for_qmc": ("qmc.tvm.partition", "partition_for_qmc"),
}


def __getattr__(name: str) -> Any:
    """Load the public functions on first use, so that ``qmc --help`` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qmc' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)
