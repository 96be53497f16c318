"""The passes in order, and the runner that writes the module down after each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmc.passes.canonicalize_clip import CanonicalizeClip
from qmc.passes.canonicalize_pooling import CanonicalizePooling
from qmc.passes.fold_batch_norm import FoldBatchNorm
from qmc.passes.fold_constant_layout import FoldConstantLayout
from qmc.passes.fold_scale_shift import FoldScaleShift
from qmc.passes.partition import Partition
from qmc.passes.recognize_functions import RecognizeFunctions


def front_passes(equalize: bool = False) -> list[Any]:
    """The passes from an imported module to one composite per layer."""
    passes: list[Any] = [
        # Phase 1: one spelling for each operation.
        FoldConstantLayout(),
        CanonicalizeClip(),
        CanonicalizePooling(),
        RecognizeFunctions(),
        # Phase 2: fewer layers.
        FoldBatchNorm(),
        FoldScaleShift(),
        # Phase 3: layers.
        Partition(),
    ]
    return passes


def run_pipeline(module: Any, passes: Sequence[Any], dump_dir: Path | None = None) -> Any:
    """Apply ``passes`` in order.

    Args:
        module: a Relax module.
        passes: TVM passes.
        dump_dir: where ``00_imported.py``, ``01_<pass>.py`` and so on are written, in Relax script.
    """
    if dump_dir is not None:
        dump_dir.mkdir(parents=True, exist_ok=True)
        _dump(module, dump_dir / "00_imported.py")
    for position, transform in enumerate(passes, start=1):
        module = transform(module)
        if dump_dir is not None:
            _dump(module, dump_dir / f"{position:02d}_{transform.info.name}.py")
    return module


def _dump(module: Any, path: Path) -> None:
    path.write_text(module.script(show_meta=False) + "\n", encoding="utf-8")
