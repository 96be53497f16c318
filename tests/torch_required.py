"""PyTorch, for the tests of what needs it; without it they are skipped.

With ``QMC_REQUIRE_TORCH=1`` in the environment (set by ``.ci/run``) a missing torch is a failure.
"""

from __future__ import annotations

import os

import pytest

if os.environ.get("QMC_REQUIRE_TORCH") == "1":
    import torch
else:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'qmc[train]'")

__all__ = ["torch"]
