"""Pass: a channels-last input becomes a channels-first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm
from tvm import relax

from qmc.passes.data_movement import TRANSPOSE, transpose_axes
from qmc.passes.grouping import substitute
from qmc.passes.relax_expr import bindings, inputs, op_name, static_shape

_TO_CHANNELS_FIRST = {4: [0, 3, 1, 2], 3: [0, 2, 1]}


@tvm.transform.module_pass(opt_level=0, name="AbsorbInputLayout")
@dataclass(frozen=True)
class AbsorbInputLayout:
    """Drop the transpose that TensorFlow exporters put behind the input.

    ::

        main(x (1, H, W, C)): y = permute_dims(x, [0, 3, 1, 2])  ->  main(x (1, C, H, W)): y = x

    Ensures: the input is channels-first like every other tensor; the emitted program keeps tensors
    channels-last in memory, so its input bytes are the same.
    Does not fire when: anything but such transposes reads the input.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        main = module["main"]
        old, values = main.params[0], bindings(main)
        readers = {v: call for v, call in values.items() if old in inputs(call)}
        axes = _TO_CHANNELS_FIRST.get(len(static_shape(old)))
        is_transposed = readers and all(
            op_name(call) == TRANSPOSE and transpose_axes(call) == axes for call in readers.values()
        )
        if axes is None or not is_transposed:
            return module
        shape = [static_shape(old)[axis] for axis in axes]
        new = relax.Var(old.name, relax.TensorType(shape, "float32"))
        updated = tvm.IRModule(module.functions, attrs=module.attrs)
        updated["main"] = _with_input(main, new, {variable: new for variable in readers})
        return updated


def _with_input(main: Any, new: Any, replaced: dict[Any, Any]) -> Any:
    """``main`` reading ``new`` wherever it read a replaced variable."""
    builder = relax.BlockBuilder()
    renamed = dict(replaced)
    with builder.function("main", [new], attrs=dict(main.attrs or {})):
        with builder.dataflow():
            for variable, value in bindings(main).items():
                if variable not in replaced:
                    renamed[variable] = builder.emit(substitute(value, renamed), variable.name)
            result = builder.emit_output(renamed[main.body.body])
        builder.emit_func_output(result)
    return builder.get()["main"]
