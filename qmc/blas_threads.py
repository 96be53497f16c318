"""One thread for NumPy's matrix products: the same bits on any number of cores, and faster.

A library that cuts a product into pieces for its threads rounds at other places than one that does
not. Most of qmc's matrices are so small that its threads spend their time waiting; where there is
much to do, whole layers or plans go side by side instead.
"""

from __future__ import annotations

import ctypes
import importlib
from functools import lru_cache

#: Of NumPy, linked to what multiplies its matrices.
_MODULE = "numpy._core._multiarray_umath"
#: What sets the number in the libraries that NumPy is built with: its own OpenBLAS, others, MKL.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
)


@lru_cache(maxsize=1)
def use_one_blas_thread() -> str | None:
    """Limit the library that NumPy multiplies matrices with to one thread, for this process.

    Returns:
        The name of the function that did it; None where the library has none of those known.
    """
    library = ctypes.CDLL(importlib.import_module(_MODULE).__file__)  # and what it is linked to
    for name in _SETTERS:
        setter = getattr(library, name, None)
        if setter is not None:
            setter(ctypes.c_int(1))
            return name
    return None
