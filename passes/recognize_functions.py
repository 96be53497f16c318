"""Pass: activation functions spelled as arithmetic become one ``qmc.lookup`` composite each."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special
import tvm
from numpy.typing import NDArray

from qmc.functions import evaluate
from qmc.passes.absorb_quantization import range_key
from qmc.passes.grouping import Group, compose
from qmc.passes.relax_expr import bindings, inputs, number, op_name, static_shape
from qmc.passes.rewriter import use_counts

Values = NDArray[np.float64]

#: Where functions are compared: dense enough to see each piece of a piecewise function.
_GRID: Values = np.linspace(-20, 20, 1601)
#: Error that separates the exporters' float32 spellings of one function from another function.
_TOLERANCE = 1e-5
#: Calls of the longest spelling, that of GELU by ``tanh`` of a cubic, and some more.
_LONGEST = 12


@tvm.transform.module_pass(opt_level=0, name="RecognizeFunctions")
@dataclass(frozen=True)
class RecognizeFunctions:
    """Group activation functions into composites with the attribute ``qmc.function``.

    ::

        clip(x * 0.2 + 0.5, 0, 1)                  ->  qmc.lookup "hard_sigmoid:0.2:0.5"
        clip(x + 3, 0, 6) / 6                      ->  qmc.lookup "hard_sigmoid:0.166667:0.5"
        x * clip(x + 3, 0, 6) / 6, in any order    ->  qmc.lookup "hard_swish"
        relu(x) - alpha * relu(1 - exp(x))         ->  qmc.lookup "elu:alpha"
        x * sigmoid(x)                             ->  qmc.lookup "swish"
        x * 0.5 * (1 + erf(x * 0.707107))          ->  qmc.lookup "gelu"

    Softplus, Mish and GELU by ``tanh`` likewise. A match is decided by evaluating the expression,
    not by its spelling.
    Does not fire when: the expression computes another function, or an inner value has another
    reader or came with a quantization of its own.
    """

    def transform_module(self, module: Any, context: Any) -> Any:
        """Apply the pass; called by TVM."""
        main = module["main"]
        values, uses = bindings(main), use_counts(main)
        given = set(dict((module.attrs or {}).get("qmc.given_ranges", {})))
        groups: list[Group] = []
        taken: set[Any] = set()
        for root in reversed(values):
            if root in taken or not (found := _match(root, values, uses, given)):
                continue
            members, key = found
            taken.update(members)
            groups.append(Group("qmc.lookup", members, {"qmc.function": key}))
        return compose(module, groups)


def _match(
    root: Any, values: Mapping[Any, Any], uses: Mapping[Any, int], given: Container[str]
) -> tuple[tuple[Any, ...], str] | None:
    """Members and key of the largest known function of one variable that ends in ``root``."""
    if op_name(values[root]) not in _NUMPY:
        return None
    for x in _candidates(root, values):
        members = _between(x, root, values)
        is_spelled = len(members) > 1 or op_name(values[root]) in _NAMED
        if not is_spelled or static_shape(x) != static_shape(root):
            continue
        if any(range_key(member.name) in given for member in members[:-1]):
            continue
        inner = {v for member in members for v in inputs(values[member])} - {x}
        if not inner <= set(members) or not _is_private(members, values, uses):
            continue
        with np.errstate(all="ignore"):  # of a part, such as the logarithm in softplus
            result = _evaluate(root, values, x)
        key = None if result is None else identify(result)
        if key is not None:
            return members, key
    return None


def _candidates(root: Any, values: Mapping[Any, Any]) -> list[Any]:
    """Variables from which ``root`` may be computed by arithmetic, farthest first."""
    frontier, found = [root], []
    for _ in range(_LONGEST):
        frontier = [
            source
            for variable in frontier
            if variable in values and op_name(values[variable]) in _NUMPY
            for source in inputs(values[variable])
        ]
        found += frontier
    return list(dict.fromkeys(reversed(found)))


def _between(x: Any, root: Any, values: Mapping[Any, Any]) -> tuple[Any, ...]:
    """Variables on the way from ``x`` to ``root``, in execution order."""
    pending, found = [root], set()
    while pending:
        variable = pending.pop()
        if variable is x or variable.same_as(x) or variable in found:
            continue
        if variable not in values or op_name(values[variable]) not in _NUMPY:
            return ()
        found.add(variable)
        pending += inputs(values[variable])
    return tuple(variable for variable in values if variable in found)


def _is_private(
    members: tuple[Any, ...], values: Mapping[Any, Any], uses: Mapping[Any, int]
) -> bool:
    """Whether all members but the last are read by members only."""
    reads = [v for member in members for v in inputs(values[member])]
    return all(uses[member] == reads.count(member) for member in members[:-1])


_NUMPY: dict[str, Callable[..., Values]] = {
    "relax.add": np.add,
    "relax.subtract": np.subtract,
    "relax.multiply": np.multiply,
    "relax.divide": np.divide,
    "relax.clip": np.clip,
    "relax.exp": np.exp,
    "relax.log": np.log,
    "relax.abs": np.abs,
    "relax.negative": np.negative,
    "relax.power": np.power,
    "relax.maximum": np.maximum,
    "relax.tanh": np.tanh,
    "relax.erf": scipy.special.erf,
    "relax.sigmoid": lambda x: evaluate("sigmoid", x),
    "relax.nn.relu": lambda x: np.maximum(x, 0.0),
    "relax.nn.gelu": lambda x: evaluate("gelu", x),
    "relax.nn.gelu_tanh": lambda x: evaluate("gelu_tanh", x),
}
#: Operators that are a whole function of this kind.
_NAMED = ("relax.nn.gelu", "relax.nn.gelu_tanh")
#: Functions without parameters.
_PLAIN = ("hard_swish", "swish", "gelu", "gelu_tanh", "softplus", "mish")


def _evaluate(expr: Any, values: Mapping[Any, Any], x: Any) -> Values | None:
    """Values of ``expr`` when ``x`` runs over the grid; None if a constant is no scalar."""
    if isinstance(expr, tvm.ir.Var):
        if expr.same_as(x):
            return _GRID
        return _evaluate(values[expr], values, x)
    if (scalar := number(expr)) is not None:
        return np.full_like(_GRID, scalar)
    if op_name(expr) not in _NUMPY:
        return None
    arguments = [_evaluate(argument, values, x) for argument in expr.args]
    if any(argument is None for argument in arguments):
        return None
    return _NUMPY[op_name(expr)](*arguments)


def identify(values: Values) -> str | None:
    """Key of the function that has ``values`` on the grid; see ``qmc.functions``."""
    middle = len(_GRID) // 2
    slope = (values[middle + 1] - values[middle]) / _GRID[middle + 1]
    offset = values[middle]
    alpha = -values[0]
    known = {
        **{key: evaluate(key, _GRID) for key in _PLAIN},
        f"hard_sigmoid:{slope:.6g}:{offset:.6g}": np.clip(slope * _GRID + offset, 0, 1),
        f"elu:{alpha:.6g}": np.where(_GRID > 0, _GRID, alpha * np.expm1(np.minimum(_GRID, 0))),
    }
    if not alpha > _TOLERANCE:  # that would be ReLU
        del known[f"elu:{alpha:.6g}"]
    for key, expected in known.items():
        if np.max(np.abs(values - expected)) < _TOLERANCE:
            return key
    return None
