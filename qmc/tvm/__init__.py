"""qmc inside TVM: its stages as passes, and its C kernels in an ordinary ``relax.build``.

``import tvm`` calls :func:`register` through the entry point group ``tvm.backends``.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "MapLayers": "map_layers",
    "QuantizeRegions": "quantize_regions",
    "from_onnx": "partition",
    "partition_for_qmc": "partition",
    "qmc_pipeline": "partition",
    "register": "plugin",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load what is asked for on first use: ``import tvm`` must stay as fast as it is."""
    if name not in _HOMES:
        raise AttributeError(f"module 'qmc.tvm' has no attribute '{name}'")
    return getattr(importlib.import_module(f"qmc.tvm.{_HOMES[name]}"), name)
