"""What TVM finds of qmc, and what it no longer needs: the exported library stands alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

import qmc
from tests.test_tvm_partition import noise, sine_in_the_middle
from tests.tvm_run import run

ROOT = Path(__file__).parent.parent

#: Fails at ``import qmc``, wherever it may be installed.
WITHOUT_QMC = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "qmc":
            raise ImportError(name)
sys.meta_path.insert(0, Missing())
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exported_library_runs_in_a_process_without_qmc(tmp_path: Path) -> None:
    module, data = sine_in_the_middle(), noise(4, 3, 6, 5)
    partitioned = qmc.partition_for_qmc(module, "host", calibration=data)
    library = tmp_path / "net.so"
    relax.build(partitioned, "llvm").export_library(str(library))
    np.save(tmp_path / "x.npy", data[:1])
    code = WITHOUT_QMC + (
        "import numpy as np, tvm\n"
        "from tvm import relax\n"
        "machine = relax.VirtualMachine(tvm.runtime.load_module(sys.argv[1]), tvm.cpu())\n"
        "y = machine['main'](tvm.runtime.tensor(np.load(sys.argv[2])))\n"
        "np.save(sys.argv[3], y.numpy())\n"
        "assert 'qmc' not in sys.modules\n"
    )
    places = [str(library), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    python(code, *places, TVM_DEVICE_BACKEND_AUTOLOAD="0")
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), run(partitioned, data[:1]))


def test_import_of_tvm_registers_qmc(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (entry,) = project["entry-points"]["tvm.backends"].items()
    installed = tmp_path / "plugin-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[tvm.backends]\n{} = {}\n".format(*entry))
    code = (
        "import sys, tvm\n"
        "from tvm import relax\n"
        "assert tvm.get_global_func('relax.ext.qmc')\n"
        "assert 'onnx' not in sys.modules and 'numba' not in sys.modules\n"
        "print(relax.get_pipeline('qmc', target='eyeriss').info.name)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    assert python(code, PYTHONPATH=path) == "qmc\n"


def test_registering_twice_changes_nothing() -> None:
    from qmc.tvm import register

    register()
    before = tvm.get_global_func("relax.ext.qmc")
    register()
    assert tvm.get_global_func("relax.ext.qmc").same_as(before)
