"""qmc: a quantization-mapping compiler. ONNX in; widths, mappings and integer C out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from qmc.compiler import compile_model as compile
    from qmc.targets import load_target

__all__ = ["__version__", "compile", "load_target"]


def __getattr__(name: str) -> Any:
    """Load the public functions on first use, so that ``qmc --help`` stays instant."""
    if name == "compile":
        from qmc.compiler import compile_model

        return compile_model
    if name == "load_target":
        from qmc.targets import load_target

        return load_target
    raise AttributeError(f"module 'qmc' has no attribute '{name}'")
