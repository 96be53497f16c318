"""What the float network holds where a region begins: TVM runs it on the calibration inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from qmc.passes.grouping import substitute
from qmc.passes.region_module import is_region, region_module
from qmc.passes.relax_expr import bindings, static_shape

FloatArray = NDArray[np.float32]


def region_inputs(
    module: Any, variables: Sequence[Any], given: Sequence[NDArray[Any]]
) -> dict[Any, FloatArray]:
    """Input values of regions.

    Args:
        module: with region functions, each called once in ``main``.
        variables: global variables of these functions.
        given: values (n, ...) of every input of ``main``.

    Returns:
        (n, ...) by global variable.
    """
    main = module["main"]
    entries = {
        call.op: call.args[0]
        for call in bindings(main).values()
        if isinstance(call, tvm.ir.Call) and call.op in variables
    }
    known = dict(zip(main.params, given, strict=True))
    inner = list(dict.fromkeys(e for e in entries.values() if e not in known))
    if inner:
        known |= dict(zip(inner, _run(_float_module(module, inner), given), strict=True))
    return {variable: known[entry] for variable, entry in entries.items()}


def _run(module: Any, given: Sequence[NDArray[Any]]) -> list[FloatArray]:
    """Every output of ``main`` for all inputs, one after the other."""
    shapes = [static_shape(parameter) for parameter in module["main"].params]
    lowered = relax.get_pipeline("zero")(module)
    machine = relax.VirtualMachine(relax.build(lowered, "llvm"), tvm.cpu())
    rows = []
    for values in zip(*given, strict=True):
        shaped = (value.reshape(shape) for value, shape in zip(values, shapes, strict=True))
        results = machine["main"](*(tvm.runtime.tensor(value) for value in shaped))
        rows.append([result.numpy() for result in results])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def _float_module(module: Any, outputs: Sequence[Any]) -> Any:
    """``module`` computed in float by TVM alone, with other outputs."""
    main = module["main"]
    kept = {g: f for g, f in module.functions_items() if g.name_hint != "main" and not is_region(f)}
    builder = relax.BlockBuilder(tvm.IRModule(kept))
    renamed: dict[Any, Any] = {}
    waiting = set(outputs)
    with builder.function("main", list(main.params)):
        with builder.dataflow():
            for variable, value in bindings(main).items():
                if not waiting:
                    break
                value = _in_float(builder, module, substitute(value, renamed))
                renamed[variable] = builder.emit(value, variable.name)
                waiting.discard(variable)
            results = relax.Tuple([renamed[output] for output in outputs])
            result = builder.emit_output(results)
        builder.emit_func_output(result)
    return builder.get()


def _in_float(builder: Any, module: Any, value: Any) -> Any:
    """``value``, or what the region that it calls computes, the way there emitted."""
    is_call = isinstance(value, tvm.ir.Call) and isinstance(value.op, tvm.ir.GlobalVar)
    if not is_call or not is_region(module[value.op]):
        return value
    inside = region_module(module[value.op])
    main = inside["main"]
    renamed: dict[Any, Any] = {main.params[0]: value.args[0]}
    for variable, call in bindings(main).items():
        composite = inside[call.op]
        arguments = [substitute(argument, renamed) for argument in call.args]
        within: dict[Any, Any] = dict(zip(composite.params, arguments, strict=True))
        for inner, expr in bindings(composite).items():
            within[inner] = builder.emit(substitute(expr, within), inner.name)
        renamed[variable] = within[composite.body.body]
    return renamed[main.body.body]
