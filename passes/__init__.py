"""The graph passes of qmc, ordinary TVM passes; one per file.

Names are loaded on first use, so that importing the package does not import TVM.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "CanonicalizeClip": "canonicalize_clip",
    "CanonicalizePooling": "canonicalize_pooling",
    "FoldBatchNorm": "fold_batch_norm",
    "FoldConstantLayout": "fold_constant_layout",
    "FoldScaleShift": "fold_scale_shift",
    "Partition": "partition",
    "RecognizeFunctions": "recognize_functions",
    "extract_network": "extract_network",
    "front_passes": "pipeline",
    "run_pipeline": "pipeline",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a pass on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qmc.passes' has no attribute '{name}'")
    return getattr(importlib.import_module(f"qmc.passes.{_HOMES[name]}"), name)
