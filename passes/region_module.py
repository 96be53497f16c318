"""Regions as functions for TVM's code generation, and as modules that every pass can work on.

A region function has the attribute ``Codegen="qmc"``; its layers are composite functions inside it.
It holds everything that is known of it, so that it can stand alone.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax

from qmc.passes.grouping import substitute
from qmc.passes.relax_expr import bindings

#: Value of the attribute ``Codegen`` of region functions.
CODEGEN = "qmc"
_PREFIX = "qmc."


def is_region(function: Any) -> bool:
    """Whether a function of a module is a region."""
    is_relax = isinstance(function, relax.Function) and function.attrs
    return bool(is_relax) and function.attrs.get("Codegen") == CODEGEN


def regions(module: Any) -> dict[Any, Any]:
    """The region functions of a module by their global variables, in order of name."""
    found = {g: f for g, f in module.functions_items() if is_region(f)}
    return dict(sorted(found.items(), key=lambda item: str(item[0].name_hint)))


def region_function(module: Any, symbol: str) -> Any:
    """A module of composites as one function with the module's attributes ``qmc.*``.

    Args:
        module: ``main`` with one input, and a composite for every call in it.
        symbol: name under which the code is found.
    """
    main = module["main"]
    builder = relax.BlockBuilder()
    source = relax.Var(main.params[0].name, main.params[0].ty)
    renamed: dict[Any, Any] = {main.params[0]: source}
    values = bindings(main)
    with builder.function("region", [source], private=True):
        with builder.dataflow():
            for variable, call in values.items():
                composite = builder.emit(module[call.op], call.op.name_hint)
                inner = tvm.ir.Call(composite, [substitute(a, renamed) for a in call.args])
                is_last = variable.same_as(main.body.body)
                emit = builder.emit_output if is_last else builder.emit
                renamed[variable] = emit(inner, variable.name)
        builder.emit_func_output(renamed[main.body.body])
    attrs = {name: value for name, value in (module.attrs or {}).items() if _is_own(name)}
    own = {"Codegen": CODEGEN, "global_symbol": symbol}
    return builder.get()["region"].with_attrs(attrs | own)


def region_module(function: Any) -> Any:
    """The inverse of :func:`region_function`."""
    builder = relax.BlockBuilder()
    source = relax.Var(function.params[0].name, function.params[0].ty)
    renamed: dict[Any, Any] = {function.params[0]: source}
    composites: dict[Any, Any] = {}
    with builder.function("main", [source]):
        with builder.dataflow():
            for variable, value in bindings(function).items():
                if isinstance(value, relax.Function):
                    composites[variable] = builder.add_func(value, variable.name)
                    continue
                arguments = [substitute(argument, renamed) for argument in value.args]
                call = tvm.ir.Call(composites[value.op], arguments)
                is_last = variable.same_as(function.body.body)
                emit = builder.emit_output if is_last else builder.emit
                renamed[variable] = emit(call, variable.name)
        builder.emit_func_output(renamed[function.body.body])
    attrs = {name: value for name, value in function.attrs.items() if _is_own(name)}
    return builder.get().with_attrs(attrs)


def _is_own(name: Any) -> bool:
    return str(name).startswith(_PREFIX)
