"""What TVM finds when qmc is installed: the code generator ``qmc`` and the pipeline ``qmc``."""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

#: The name under which both are known.
NAME = "qmc"
_CODE_GENERATOR = f"relax.ext.{NAME}"


def register() -> None:
    """Register both; doing so again changes nothing.

    TVM calls this at the end of ``import tvm``, so nothing heavy is imported before it is used.
    """
    if tvm.get_global_func(_CODE_GENERATOR, allow_missing=True) is None:
        tvm.register_global_func(_CODE_GENERATOR, _generate)
    if NAME not in relax.pipeline.PIPELINE_MAP:
        relax.register_pipeline(NAME)(_pipeline)


def _generate(functions: Any, options: Any, constant_names: Any) -> list[Any]:
    """Called by ``relax.transform.RunCodegen`` with every function that has Codegen="qmc"."""
    from qmc.tvm.generate import generate

    return [generate(function) for function in functions]


def _pipeline(**options: Any) -> Any:
    """``relax.get_pipeline("qmc", target="host", ...)``: see ``qmc.tvm.partition_for_qmc``."""
    from qmc.tvm.partition import qmc_pipeline

    return qmc_pipeline(**options)
