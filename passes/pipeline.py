"""The passes in order, and the runner that writes the module down after each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qmc.passes.absorb_input_layout import AbsorbInputLayout
from qmc.passes.absorb_quantization import AbsorbQuantization
from qmc.passes.canonicalize_clip import CanonicalizeClip
from qmc.passes.canonicalize_pooling import CanonicalizePooling
from qmc.passes.equalize_layers import EqualizeLayers
from qmc.passes.expand_operators import ExpandOperators
from qmc.passes.fold_batch_norm import FoldBatchNorm
from qmc.passes.fold_constant_layout import FoldConstantLayout
from qmc.passes.fold_pad import FoldPad
from qmc.passes.fold_scale_shift import FoldScaleShift
from qmc.passes.lift_one_dimensional import LiftOneDimensional
from qmc.passes.partition import Partition
from qmc.passes.recognize_functions import RecognizeFunctions
from qmc.passes.simplify_data_movement import SimplifyDataMovement
from qmc.passes.unpack_tuples import UnpackTuples


def front_passes(equalize: bool = False, keep_input: bool = False) -> list[Any]:
    """The passes from an imported module to one composite per layer.

    Args:
        equalize: equalize channels across layers.
        keep_input: leave the layout of the input as it is.
    """
    passes: list[Any] = [] if keep_input else [AbsorbInputLayout()]
    passes += [
        # Phase 1: what is not float NCHW arithmetic goes into tables.
        AbsorbQuantization(),
        UnpackTuples(),
        LiftOneDimensional(),
        # Phase 2: one spelling for each operation.
        FoldConstantLayout(),
        ExpandOperators(),
        SimplifyDataMovement(),
        CanonicalizeClip(),
        CanonicalizePooling(),
        RecognizeFunctions(),
        # Phase 3: fewer layers.
        FoldPad(),
        FoldBatchNorm(),
        FoldScaleShift(),
        SimplifyDataMovement(),
    ]
    # Phase 4: flatter weights; float results stay the same.
    passes += [EqualizeLayers()] if equalize else []
    # Phase 5: layers.
    return [*passes, Partition()]


def run_pipeline(
    module: Any, passes: Sequence[Any], dump_dir: Path | None = None, first: int = 0
) -> Any:
    """Apply ``passes`` in order.

    Args:
        module: a Relax module.
        passes: TVM passes.
        dump_dir: where ``00_imported.py``, ``01_<pass>.py`` and so on are written, in Relax script.
        first: number of passes that ran before; above 0 the module itself is not written.
    """
    if dump_dir is not None:
        dump_dir.mkdir(parents=True, exist_ok=True)
        if first == 0:
            _dump(module, dump_dir / "00_imported.py")
    for position, transform in enumerate(passes, start=first + 1):
        module = transform(module)
        if dump_dir is not None:
            _dump(module, dump_dir / f"{position:02d}_{transform.info.name}.py")
    return module


def _dump(module: Any, path: Path) -> None:
    path.write_text(module.script(show_meta=False) + "\n", encoding="utf-8")
