"""Just-in-time compilation, with machine code cached on disk where a folder can be written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from qmc.cache import cache_folder

#: Modules with compiled functions; they call each other.
_KERNELS = (
    "nest_records.py",
    "nest_geometry.py",
    "nest_wires.py",
    "nest_kernel.py",
    "nest_bounds.py",
    "branch_and_bound.py",
    "random_walk.py",
    "sliding.py",
    "relaxation.py",
    "descent_bounds.py",
    "descent.py",
    "width_kernel.py",
    "width_walk.py",
    "learned_moves.py",
    "rounding_kernel.py",
    "requant_kernel.py",
    "patch_kernel.py",
    "cost_models/feature_kernel.py",
    "cut_records.py",
    "cut_geometry.py",
    "cut_kernel.py",
    "cut_walk.py",
)
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile ``function`` with Numba in nopython mode, to run without the lock.

    Machine code is kept in qmc's cache folder, one subfolder per state of the kernels' sources:
    Numba itself looks only at the file of the function called, not at what that calls. Without a
    folder that can be written every process compiles anew.
    """
    return _compiled(function, into_callers=False)


def inlined(function: _Function) -> _Function:
    """Compile as :func:`compiled` does, into the machine code of every caller.

    For the small parts of a loop that runs millions of times: passing an array or a record to a
    function costs as much as many of them do.
    """
    return _compiled(function, into_callers=True)


def _compiled(function: _Function, into_callers: bool) -> _Function:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": into_callers}
    folder = _code_folder()
    if folder is None:
        return cast(_Function, numba.njit(**options)(function))
    config: Any = numba.config  # has no static types
    previous = config.CACHE_DIR
    config.CACHE_DIR = str(folder)
    try:
        return cast(_Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # "cannot cache function: no locator available"
        return cast(_Function, numba.njit(**options)(function))
    finally:
        config.CACHE_DIR = previous


@lru_cache(maxsize=1)
def _code_folder() -> Path | None:
    """The folder for the present sources; None when it cannot be written."""
    folder = cache_folder()
    if folder is None:
        return None
    digest = hashlib.sha256()
    for name in _KERNELS:
        digest.update((Path(__file__).parent / name).read_bytes())
    folder = folder / "machine-code" / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
