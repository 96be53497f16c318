"""The integer contract as ONNX functions: operators of the domain ``qmc`` with exact bodies.

In a QDQ file a layer's floats are only names for integers: every value is a code less its zero
point, times a scale. Float32 arithmetic on them would round near ties, and could not know the
multipliers of docs/arithmetic.md. A function of this domain takes the floats, turns them back into
integers (a rounded quotient, exact below 2^21), computes in int32 and int64 as qmc/reference.py
does, and gives back floats that are again exactly on the output's grid. Each is called as the
standard operator that it stands for, and has that operator's inputs first: a reader that strips the
domain and the further inputs has the plain QDQ network.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import onnx
from onnx import FunctionProto

from qmc.functions import ONNX_OPERATORS

DOMAIN = "qmc"
#: Operators that became tables.
_TABULATED = {operator for operator, _ in ONNX_OPERATORS.values()}
#: Inputs that the standard operator has too, by operator of the domain.
STANDARD_INPUTS = {
    "Add": 2,
    "AveragePool": 1,
    "Clip": 3,
    "Conv": 3,
    "Gemm": 3,
    "Identity": 1,
    "Mul": 2,
    "Rescale": 1,
    "Softmax": 1,
    **dict.fromkeys(sorted(_TABULATED), 1),
}
#: Attributes that the standard operator lacks.
EXTRA_ATTRIBUTES = {"AveragePool": ("group",)}
_WINDOW = ("kernel_shape", "strides", "dilations", "pads", "group")
_ATTRIBUTES: dict[str, tuple[str, ...]] = {
    **dict(ONNX_OPERATORS.values()),
    "AveragePool": (*_WINDOW, "count_include_pad"),
    "Conv": _WINDOW,
    "Gelu": ("approximate",),
    "Gemm": ("transB",),
    "Softmax": ("axis",),
}
#: Inputs of a floor shift: clip((product + addend) // divisor + offset) * scale.
SHIFT = "addend, divisor, offset, low, high, scale"
_CONVOLVE = ", ".join(
    f"{name}: {'int' if name == 'group' else 'ints'} = @{name}" for name in _WINDOW
)
_CODES = """
    x_real = Div(X, x_scale)
    x_integer = Round(x_real)
    x_shift = Cast<to = 1>(x_zero)
    x_shifted = Add(x_integer, x_shift)
    x_codes = Cast<to = 2>(x_shifted)
"""
_WEIGHTS = """
    w_real = Div(W, w_scale)
    w_integer = Round(w_real)
    w_codes = Cast<to = 3>(w_integer)
"""
_INTEGER = """
    {0}_real = Div({1}, {0}_scale)
    {0}_rounded = Round({0}_real)
    {0}_integer = Cast<to = 7>({0}_rounded)
"""
_LOOKUP = (
    _INTEGER.format("x", "X")
    + """
    x_codes = Add(x_integer, x_zero)
    Y = Gather(table, x_codes)
"""
)
_REQUANTIZE = f"""
    wide = Cast<to = 7>(sums)
    Y = qmc.{{requantize}}(wide, multiplier, {SHIFT})
"""
#: Signature and body of every function. ``Mod`` of integers has the divisor's sign, so that
#: ``a - Mod(a, d)`` is divided by d without a remainder: a floor.
_BODIES: dict[str, tuple[str, str]] = {
    "Shift": (
        f"product, {SHIFT}",
        """
    total = Add(product, addend)
    remainder = Mod(total, divisor)
    whole = Sub(total, remainder)
    shifted = Div(whole, divisor)
    moved = Add(shifted, offset)
    raised = Max(moved, low)
    clipped = Min(raised, high)
    real = Cast<to = 1>(clipped)
    Y = Mul(real, scale)
""",
    ),
    "Requantize": (
        f"sums, multiplier, {SHIFT}",
        f"""
    product = Mul(sums, multiplier)
    Y = qmc.Shift(product, {SHIFT})
""",
    ),
    # gemmlowp: the high half of the doubled product, then a shift that rounds halves away from 0.
    "RequantizeTwice": (
        f"sums, multiplier, {SHIFT}",
        """
    biased = Add(sums, addend)
    product = Mul(biased, multiplier)
    zero = Constant<value = int64 {0}>()
    one = Constant<value = int64 {1}>()
    two = Constant<value = int64 {2}>()
    half_up = Constant<value = int64 {1073741824}>()
    half_down = Constant<value = int64 {-1073741823}>()
    span = Constant<value = int64 {2147483648}>()
    is_negative = Less(product, zero)
    nudge = Where(is_negative, half_down, half_up)
    nudged = Add(product, nudge)
    size = Abs(nudged)
    large = Div(size, span)
    sign = Sign(nudged)
    top = Mul(large, sign)
    rest = Mod(top, divisor)
    even = Sub(top, rest)
    shifted = Div(even, divisor)
    last = Sub(divisor, one)
    middle = Div(last, two)
    below = Less(top, zero)
    below_one = Cast<to = 7>(below)
    threshold = Add(middle, below_one)
    is_above = Greater(rest, threshold)
    up = Cast<to = 7>(is_above)
    rounded = Add(shifted, up)
    moved = Add(rounded, offset)
    raised = Max(moved, low)
    clipped = Min(raised, high)
    real = Cast<to = 1>(clipped)
    Y = Mul(real, scale)
""",
    ),
    "Identity": (
        "X, fine_scale, low, high, scale",
        """
    half = Constant<value = double {0.5}>()
    fine = Cast<to = 11>(X)
    quotient = Div(fine, fine_scale)
    raised = Add(quotient, half)
    nearest = Floor(raised)
    above = Max(nearest, low)
    clipped = Min(above, high)
    real = Cast<to = 1>(clipped)
    Y = Mul(real, scale)
""",
    ),
    "Conv": (
        f"X, W, B, x_scale, x_zero, w_scale, multiplier, {SHIFT}",
        _CODES
        + _WEIGHTS
        + f"    sums = ConvInteger<{_CONVOLVE}>(x_codes, w_codes, x_zero)"
        + _REQUANTIZE,
    ),
    "Gemm": (
        f"X, W, B, x_scale, x_zero, w_scale, multiplier, {SHIFT}",
        _CODES
        + _WEIGHTS
        + """
    w_turned = Transpose<perm = [1, 0]>(w_codes)
    sums = MatMulInteger(x_codes, w_turned, x_zero)"""
        + _REQUANTIZE,
    ),
    "AveragePool": (
        f"X, ones, x_scale, x_zero, multiplier, {SHIFT}",
        _CODES + f"    sums = ConvInteger<{_CONVOLVE}>(x_codes, ones, x_zero)"
        f"\n    wide = Cast<to = 7>(sums)\n    Y = qmc.Requantize(wide, multiplier, {SHIFT})\n",
    ),
    "Rescale": (
        f"X, x_scale, multiplier, {SHIFT}",
        _INTEGER.format("x", "X") + f"    Y = qmc.Requantize(x_integer, multiplier, {SHIFT})\n",
    ),
    "Add": (
        f"A, B, a_scale, b_scale, a_multiplier, b_multiplier, {SHIFT}",
        _INTEGER.format("a", "A")
        + _INTEGER.format("b", "B")
        + f"""
    first = Mul(a_integer, a_multiplier)
    second = Mul(b_integer, b_multiplier)
    product = Add(first, second)
    Y = qmc.Shift(product, {SHIFT})
""",
    ),
    "Mul": (
        f"A, B, a_scale, b_scale, multiplier, {SHIFT}",
        _INTEGER.format("a", "A")
        + _INTEGER.format("b", "B")
        + f"""
    sums = Mul(a_integer, b_integer)
    Y = qmc.Requantize(sums, multiplier, {SHIFT})
""",
    ),
    "Softmax": (
        "X, x_scale, table, factor, low, high, scale",
        _INTEGER.format("x", "X")
        + """
    axes = Constant<value_ints = [1]>()
    two = Constant<value = int64 {2}>()
    largest = ReduceMax(x_integer, axes)
    distance = Sub(largest, x_integer)
    weights = Gather(table, distance)
    total = ReduceSum(weights, axes)
    half = Div(total, two)
    scaled = Mul(weights, factor)
    rounded = Add(scaled, half)
    share = Div(rounded, total)
    raised = Max(share, low)
    clipped = Min(raised, high)
    real = Cast<to = 1>(clipped)
    Y = Mul(real, scale)
""",
    ),
    "Clip": ("X, minimum, maximum, x_scale, x_zero, table", _LOOKUP),
}
_BODIES |= {name: ("X, x_scale, x_zero, table", _LOOKUP) for name in sorted(_TABULATED)}


def functions_of(operators: Iterable[str], opset: int, twice: bool = False) -> list[FunctionProto]:
    """Definitions of ``operators`` and of what they call, in a fixed order.

    Args:
        operators: names of the domain.
        opset: version of the standard operators that the bodies use.
        twice: whether convolutions and dense layers round twice (``tflite-double``).
    """
    wanted = set(operators)
    if wanted & {"Conv", "Gemm"}:
        wanted.add("RequantizeTwice" if twice else "Requantize")
    if wanted & {"AveragePool", "Rescale", "Mul"}:
        wanted.add("Requantize")
    if wanted & {"Requantize", "Add"}:
        wanted.add("Shift")
    return [_function(name, opset, twice) for name in _BODIES if name in wanted]


@cache
def _function(name: str, opset: int, twice: bool) -> FunctionProto:
    inputs, body = _BODIES[name]
    body = body.replace("{requantize}", "RequantizeTwice" if twice else "Requantize")
    attributes = ", ".join(_ATTRIBUTES.get(name, ()))
    head = f"{name} <{attributes}> ({inputs})" if attributes else f"{name} ({inputs})"
    imports = f'"" : {opset}, "{DOMAIN}" : 1'
    text = f'<domain: "{DOMAIN}", opset_import: [{imports}]>\n{head} => (Y)\n{{{body}}}'
    return onnx.parser.parse_function(text)
