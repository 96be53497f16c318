"""Pass: weight ranges of neighbouring layers are made equal, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm.relax.expr_functor import mutator

from qmc.passes.linear import Linear, emit_linear, match_linear
from qmc.passes.relax_expr import Array, bindings, constant, op_name
from qmc.passes.rewriter import CallRewriter, rewrite_main, use_counts


@tvm.transform.module_pass(opt_level=0, name="EqualizeLayers")
@dataclass(frozen=True)
class EqualizeLayers:
    """Move scale between layers so that each channel's range is the same on both sides.

    ::

        y = W2 * relu(W1 * x + b1)    ->  y = (W2 * s) * relu((W1 / s) * x + b1 / s)
        s = sqrt(r1 * r2) / r2          r1, r2: largest weight of the channel in W1 and W2

    Exact, because relu(s * x) = s * relu(x) for s > 0; repeated until nothing changes.
    Requires: float weights. Ensures: r1 = r2 for every channel of every pair.
    Does not fire when: the clamp between is not ReLU (ReLU6 is not homogeneous), the value
    between has another reader, or a channel has only zeros on one side.
    Source: Nagel et al., Data-Free Quantization, ICCV 2019, section 4.1, equations 9 to 11.

    Attributes:
        sweeps: most passes over all pairs.
    """

    sweeps: int = 20

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        main = module["main"]
        layers, pairs = _layers_and_pairs(main)
        if not pairs:
            return module
        for _ in range(self.sweeps):
            largest = 0.0
            for first, second in pairs:
                scale = _scale(layers[first], layers[second])
                layers[first] = layers[first].scaled(1 / scale, np.zeros_like(scale))
                layers[second] = _scaled_inputs(layers[second], scale)
                largest = max(largest, float(np.max(np.abs(scale - 1))))
            if largest < 1e-4:
                break
        changed = {variable for pair in pairs for variable in pair}
        rewritten = {variable: layers[variable] for variable in changed}
        return rewrite_main(module, lambda function: _Rewriter(function, rewritten))


def _layers_and_pairs(main: Any) -> tuple[dict[Any, Linear], list[tuple[Any, Any]]]:
    """Layers by the variable of their output, and the pairs that may be equalized."""
    values, uses = bindings(main), use_counts(main)

    def lookup(expr: Any) -> Any:
        while isinstance(expr, tvm.ir.Var) and expr in values:
            expr = values[expr]
        return expr

    layers: dict[Any, Linear] = {}
    for variable, value in values.items():
        is_alias = isinstance(value, tvm.ir.Var)  # the function's result
        found = None if is_alias else match_linear(lookup, variable)
        if found is not None:
            if op_name(value) == "relax.add" and uses[value.args[0]] == 1:
                layers.pop(value.args[0], None)
            layers[variable] = found
    pairs = []
    for variable, layer in layers.items():
        source = layer.call.args[0]
        if uses[source] == 1 and op_name(values.get(source)) == "relax.nn.relu":
            source = values[source].args[0]
        if source in layers and uses[source] == 1:
            pairs.append((source, variable))
    return layers, pairs


def _scale(first: Linear, second: Linear) -> Array:
    """Equation 11; 1 where a channel has only zeros on one side."""
    axes = (1, 2, 3) if first.is_conv else (0,)
    r1 = np.abs(first.weights).max(axis=axes)
    r2 = _input_ranges(second)
    usable = (r1 > 0) & (r2 > 0)
    scale = np.sqrt(np.where(usable, r1, 1.0) / np.where(usable, r2, 1.0))
    return np.where(usable, scale, 1.0)


def _input_ranges(linear: Linear) -> Array:
    if not linear.is_conv:
        return np.asarray(np.abs(linear.weights).max(axis=1))
    outputs, channels, rows, columns = linear.weights.shape
    grouped = linear.weights.reshape(
        linear.groups, outputs // linear.groups, channels, rows, columns
    )
    return np.asarray(np.abs(grouped).max(axis=(1, 3, 4)).reshape(-1))


def _scaled_inputs(linear: Linear, scale: Array) -> Linear:
    """The layer reading inputs divided by ``scale``."""
    if not linear.is_conv:
        return replace(linear, weights=linear.weights * scale[:, None])
    outputs, channels, _, _ = linear.weights.shape
    per_group = scale.reshape(linear.groups, 1, channels, 1, 1)
    grouped = linear.weights.reshape(
        linear.groups, outputs // linear.groups, *linear.weights.shape[1:]
    )
    return replace(linear, weights=(grouped * per_group).reshape(linear.weights.shape))


@mutator
class _Rewriter(CallRewriter):
    def __init__(self, function: Any, layers: dict[Any, Linear]) -> None:
        super().__init__(function)
        self._layers = layers

    def rewrite(self, call: Any, original: Any) -> Any | None:
        layer = self._layers.get(self.variable)
        if layer is None:
            return None
        inner = call
        if op_name(call) == "relax.add" and constant(call.args[1]) is not None:
            inner = self.value(call.args[0])
        return emit_linear(self, layer, inner.args[0])
