"""Pass: a chain of transposes and reshapes becomes one of each, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import mutator

from qmc.passes.data_movement import (
    RESHAPES,
    TRANSPOSE,
    Movement,
    apply,
    find_channel_shuffle,
    find_movement,
)
from qmc.passes.relax_expr import op_name, static_shape
from qmc.passes.rewriter import CallRewriter, rewrite_main


@tvm.transform.module_pass(opt_level=0, name="SimplifyDataMovement")
@dataclass(frozen=True)
class SimplifyDataMovement:
    """Collapse chains of ``permute_dims``, ``reshape``, ``squeeze`` and ``expand_dims``.

    ::

        permute_dims(permute_dims(x, [0, 2, 3, 1]), [0, 3, 1, 2])  ->  x
        squeeze(expand_dims(x, 2), 2)                              ->  x
        reshape(squeeze(x, 3), s)                                  ->  reshape(x, s)
        permute_dims(x (1, C, 1, 1), [0, 2, 3, 1])                 ->  reshape(x, (1, 1, 1, C))
        channel shuffle: reshape to (1, G, C/G, H, W), permute_dims [0, 2, 1, 3, 4], reshape
            ->  the same with (1, G, C/G, H*W), of four dimensions, which Partition takes as one

    The chain is judged by where it puts every element, so that any spelling will do.
    Ensures: what is left is ``reshape``, ``permute_dims``, or the first of the second; a channel
    shuffle keeps a ``reshape`` before them.
    Does not fire when: one transpose of at most four axes cannot do what the chain does.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        return rewrite_main(module, _Rewriter)


@mutator
class _Rewriter(CallRewriter):
    def rewrite(self, call: Any, original: Any) -> Any | None:
        chain: list[Any] = []
        base: Any = call
        while _moves(value := self.value(base)):
            chain.append(value)
            base = value.args[0]
        source, target = static_shape(base), static_shape(call)
        if not chain or not source or not all(static_shape(step) for step in chain):
            return None
        order = np.arange(math.prod(source), dtype=np.int32).reshape(source)
        for step in reversed(chain):
            order = apply(step, order)
        movement = find_movement(source, order)
        if movement is None:
            is_flat = np.array_equal(order.reshape(-1), np.arange(order.size))
            if is_flat:
                return _reshaped(base, source, target) if len(chain) > 1 else None
            shuffle = find_channel_shuffle(order)
            return self._shuffled(base, shuffle, target) if shuffle else None
        if movement.perm == tuple(range(len(movement.source))):
            is_done = len(chain) == 1 and op_name(call) == "relax.reshape" and source != target
            return None if is_done else _reshaped(base, source, target)
        return self._transposed(call, chain, base, movement.source, movement.perm)

    def _shuffled(self, base: Any, shuffle: Movement, target: tuple[int, ...]) -> Any:
        view = self.emit(relax.op.reshape(base, shuffle.source))
        return relax.op.reshape(self.emit(relax.op.permute_dims(view, list(shuffle.perm))), target)

    def _transposed(
        self, call: Any, chain: list[Any], base: Any, source: Any, perm: tuple[int, ...]
    ) -> Any | None:
        names = [op_name(step) for step in chain]
        if names in ([TRANSPOSE], ["relax.reshape", TRANSPOSE]):
            return None
        base = _reshaped(base, static_shape(base), source)
        moved = relax.op.permute_dims(base, list(perm))
        shape = tuple(source[axis] for axis in perm)
        if shape == static_shape(call):
            return moved
        return relax.op.reshape(self.emit(moved), static_shape(call))


def _moves(value: Any) -> bool:
    return op_name(value) == TRANSPOSE or op_name(value) in RESHAPES


def _reshaped(base: Any, source: tuple[int, ...], target: tuple[int, ...]) -> Any:
    return base if source == target else relax.op.reshape(base, target)
