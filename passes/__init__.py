"""The graph passes of qmc, ordinary TVM passes; one per file.

Names are loaded on first use, so that importing the package does not import TVM.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "AbsorbInputLayout": "absorb_input_layout",
    "AbsorbQuantization": "absorb_quantization",
    "AnnotateQuantization": "annotate_quantization",
    "CanonicalizeClip": "canonicalize_clip",
    "CanonicalizePooling": "canonicalize_pooling",
    "EqualizeLayers": "equalize_layers",
    "ExpandOperators": "expand_operators",
    "FoldBatchNorm": "fold_batch_norm",
    "FoldConstantLayout": "fold_constant_layout",
    "FoldPad": "fold_pad",
    "FoldScaleShift": "fold_scale_shift",
    "FormRegions": "form_regions",
    "LiftOneDimensional": "lift_one_dimensional",
    "LowerToInteger": "lower_to_integer",
    "Partition": "partition",
    "RecognizeFunctions": "recognize_functions",
    "SimplifyDataMovement": "simplify_data_movement",
    "UnpackTuples": "unpack_tuples",
    "front_passes": "pipeline",
    "run_pipeline": "pipeline",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a pass on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qmc.passes' has no attribute '{name}'")
    return getattr(importlib.import_module(f"qmc.passes.{_HOMES[name]}"), name)
