"""Matrix products have the same bits whatever number of threads their library is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_PRODUCTS = """
import hashlib
import numpy as np
from qmc.blas_threads import use_one_blas_thread
use_one_blas_thread()
state = hashlib.sha256()
for rows, columns in ((96, 5000), (300, 2000)):
    inputs = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    covariance = inputs @ inputs.T
    hessian = covariance.astype(np.float64) / columns + np.eye(rows)
    state.update(covariance.tobytes() + np.linalg.cholesky(hessian).tobytes())
print(state.hexdigest())
"""


def digest(threads: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _PRODUCTS],
        env=os.environ
        | {"OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        | {"PYTHONPATH": str(Path(__file__).parent.parent)},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def test_products_do_not_depend_on_the_threads_asked_for() -> None:
    assert digest(1) == digest(2)
