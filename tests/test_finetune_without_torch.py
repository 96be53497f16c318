"""Where torch is not installed: one line, and nothing else needs it."""

from __future__ import annotations

import os
import subprocess
import sys

#: The command line where ``import torch`` finds nothing.
PROGRAM = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "torch" else find(name, *a)
sys.modules["torch"] = None
from qmc.cli import main
main()
"""


def test_missing_torch_is_told_in_one_line() -> None:
    command = ["-c", PROGRAM, "finetune", "m.onnx", "-o", "t.onnx"]
    done = subprocess.run(
        [sys.executable, *command], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "qmc: error: finetune: needs torch, which is not installed; pip install 'qmc[train]' [E192]"
    )
