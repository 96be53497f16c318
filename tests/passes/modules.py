"""Comparing modules, and constants for TVMScript: arrays counted up from 1 in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray


def ramp(*shape: int, step: float = 0.5) -> NDArray[np.float32]:
    """1, 1 + step, ... in ``shape``."""
    count = int(np.prod(shape))
    return (1 + step * np.arange(count)).astype(np.float32).reshape(shape)


def assert_becomes(transform: Any, before: Any, expected: Any) -> None:
    """``transform`` makes ``expected`` of ``before``, and nothing more when it runs again."""
    found = transform(before)
    tvm.ir.assert_structural_equal(found, expected, map_free_vars=True)
    tvm.ir.assert_structural_equal(transform(found), expected, map_free_vars=True)


def assert_unchanged(transform: Any, module: Any) -> None:
    """``transform`` does not fire on ``module``."""
    tvm.ir.assert_structural_equal(transform(module), module, map_free_vars=True)
