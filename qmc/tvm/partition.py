"""``partition_for_qmc``: a Relax module whose supported layers run in qmc's C kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from qmc.errors import ModelError
from qmc.frontend import check_versions, import_onnx
from qmc.passes.form_regions import FormRegions
from qmc.passes.grouping import layer_of
from qmc.passes.pipeline import front_passes, run_pipeline
from qmc.passes.region_module import is_region
from qmc.passes.user_errors import register_user_errors
from qmc.scheme import Scheme
from qmc.tvm.map_layers import MapLayers
from qmc.tvm.plugin import register
from qmc.tvm.quantize_regions import Calibration, QuantizeRegions

Parameters = Mapping[str, NDArray[Any] | tvm.runtime.Tensor]


def from_onnx(path: Path | str) -> Any:
    """An ONNX file as a Relax module that keeps the names of nodes and tensors.

    Quantized models of all spellings (docs/operators.md) come with their quantization.

    Raises:
        QmcError: the file is not a network qmc can take.
    """
    return import_onnx(path).module


def partition_for_qmc(
    mod: Any,
    target: str | Path = "host",
    *,
    params: Parameters | None = None,
    scheme: str | Path | Scheme = "w8a8",
    calibration: Calibration | None = None,
    equalize: bool = False,
    seed: int = 0,
    codegen: bool = True,
    dump_ir: Path | None = None,
) -> Any:
    """Give the layers that qmc supports to its C kernels; the rest stays as it is.

    Args:
        mod: a Relax module with one function of static shapes, batch 1; imported or written.
        target: name of a known machine or path of its YAML file; decides the loops of the kernels.
        params: values of inputs of the function that are weights, by name.
        scheme: ``w8a8`` and the like, a scheme file, or a complete scheme.
        calibration: inputs (n, C, H, W); of several inputs one such array for each. None takes
            random numbers where the module does not come with ranges, and logs a warning.
        equalize: equalize channels across layers.
        seed: of everything random.
        codegen: False leaves the region functions in the module, annotated;
            ``relax.transform.RunCodegen`` makes C of them.
        dump_ir: folder for the module after each pass.

    Returns:
        The module for ``relax.build(..., "llvm")``. The function's inputs and outputs are the same.

    Raises:
        QmcError: one of its classes, for anything wrong with the arguments.
    """
    if params:
        mod = _with_parameters(mod, params)
    pipeline = qmc_pipeline(target, scheme, calibration, equalize, seed, codegen, dump_ir)
    return pipeline(mod)


def qmc_pipeline(
    target: str | Path = "host",
    scheme: str | Path | Scheme = "w8a8",
    calibration: Calibration | None = None,
    equalize: bool = False,
    seed: int = 0,
    codegen: bool = True,
    dump_ir: Path | None = None,
) -> Any:
    """The passes of :func:`partition_for_qmc` as one; also ``relax.get_pipeline("qmc", ...)``."""
    check_versions()
    register()
    wanted = scheme if isinstance(scheme, Scheme) else str(scheme)
    passes = [
        *front_passes(equalize, keep_input=True),
        FormRegions(),
        QuantizeRegions(wanted, calibration, seed),
        MapLayers(str(target), seed=seed),
    ]
    return _Pipeline((*passes, RunQmcCodegen()) if codegen else tuple(passes), dump_ir)


@tvm.transform.module_pass(opt_level=0, name="RunQmcCodegen")
@dataclass(frozen=True)
class RunQmcCodegen:
    """TVM's ``RunCodegen``, without what it leaves behind.

    That are copies of the weights, which would be linked again, and functions that nobody calls.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        module = relax.transform.RunCodegen()(module).without_attr("const_name_to_constant")
        return relax.transform.DeadCodeElimination([entry_function(module)])(module)


@tvm.transform.module_pass(opt_level=0, name="qmc")
@dataclass(frozen=True, eq=False)
class _Pipeline:
    """Passes that work on ``main``, applied to the one function of a module whatever its name.

    Attributes:
        passes: in order.
        dump_ir: folder for the module after each pass.
    """

    passes: tuple[Any, ...]
    dump_ir: Path | None

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the passes; called by TVM."""
        register_user_errors()
        name = entry_function(module)
        _check_form(module[name], name)
        result = run_pipeline(_renamed(module, name, "main"), self.passes, self.dump_ir)
        return _renamed(result, "main", name)


def entry_function(module: Any) -> str:
    """Name of the function that a module is about: ``main``, or its only Relax function.

    Raises:
        ModelError: there are none, or several.
    """
    names = sorted(
        str(variable.name_hint)
        for variable, function in module.functions_items()
        if isinstance(function, relax.Function)
        and not layer_of(function)
        and not is_region(function)
        and "global_symbol" in (function.attrs or {})
    )
    if "main" in names:
        return "main"
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ModelError("module", f"found functions {found}; allowed: main, or one only")
    return names[0]


def _check_form(function: Any, name: str) -> None:
    """Refuse what passes on calls, tuples and constants would get wrong.

    Raises:
        ModelError: the function has side effects, branches or casts of unknown shapes.
    """
    allowed = "allowed: a pure function of calls"
    if not function.is_pure:
        raise ModelError("module", f"function {name} has side effects; {allowed}")
    for block in getattr(function.body, "blocks", ()):
        for binding in block.bindings:
            is_branch = isinstance(binding, relax.VarBinding) and isinstance(
                binding.value, relax.If | relax.Function | relax.SeqExpr
            )
            if is_branch or isinstance(binding, relax.MatchCast):
                kind = type(binding.value if is_branch else binding).__name__
                raise ModelError(
                    "module", f"function {name}: {binding.var.name}: {kind}; {allowed}"
                )


def _with_parameters(module: Any, params: Parameters) -> Any:
    """``module`` with constants in place of inputs; ``nn.Module`` writes ``a.b`` as ``a_b``."""
    name = entry_function(module)
    inputs = {str(parameter.name) for parameter in module[name].params}
    values: dict[str, Any] = {}
    for key, value in params.items():
        known = key if key in inputs else key.replace(".", "_")
        if known not in inputs:
            allowed = ", ".join(sorted(inputs))
            raise ModelError("module", f"params: '{key}' is no input of {name}; found {allowed}")
        values[known] = tvm.runtime.tensor(value) if isinstance(value, np.ndarray) else value
    return relax.transform.BindParams(name, values)(module)


def _renamed(module: Any, old: str, new: str) -> Any:
    if old == new:
        return module
    functions = {
        tvm.ir.GlobalVar(new) if variable.name_hint == old else variable: function
        for variable, function in module.functions_items()
    }
    updated = tvm.IRModule(functions, attrs=module.attrs)
    updated[new] = updated[new].with_attr("global_symbol", new)
    return updated
