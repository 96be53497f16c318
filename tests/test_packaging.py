"""The wheel holds every file of the package, built from a checkout or from the sdist."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("passes", "targets", "cost_models", "third_party")
BACKEND = "setuptools.build_meta"
#: First version that knows ``license`` as an SPDX expression; also in pyproject.toml.
SETUPTOOLS_MAJOR = 77

pytestmark = pytest.mark.skipif(
    int(metadata.version("setuptools").split(".")[0]) < SETUPTOOLS_MAJOR,
    reason=f"building needs setuptools {SETUPTOOLS_MAJOR} or newer in this environment",
)


def package_files(checkout: Path) -> set[str]:
    """Every file below ``qmc/``, links followed: ``qmc/targets/simba.yaml`` and so on."""
    names = (
        Path(folder, file).relative_to(checkout).as_posix()
        for folder, _, files in os.walk(checkout / "qmc", followlinks=True)
        for file in files
    )
    return {name for name in names if "__pycache__" not in name and not name.endswith(".so")}


def build(kind: str, source: Path, output: Path) -> Path:
    """Build the ``wheel`` or ``sdist`` of ``source`` with the installed setuptools."""
    output.mkdir()
    code = f"import sys, {BACKEND} as backend; backend.build_{kind}(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(output)], cwd=source, check=True, capture_output=True
    )
    (built,) = output.iterdir()
    return built


def wheel_names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the packages are built from, the links kept as links."""
    copy = tmp_path_factory.mktemp("checkout")
    skip = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("qmc", *LINKED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=skip)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", checkout, tmp_path_factory.mktemp("built") / "wheel")


def test_wheel_holds_every_file_of_the_package(checkout: Path, wheel: Path) -> None:
    names = {name for name in wheel_names(wheel) if ".dist-info/" not in name}
    assert names == package_files(checkout)
    assert {"qmc/py.typed", "qmc/LICENSE", "qmc/passes/__init__.py"} <= names


def test_wheel_from_sdist_equals_wheel_from_checkout(
    checkout: Path, wheel: Path, tmp_path: Path
) -> None:
    sdist = build("sdist", checkout, tmp_path / "sdist")
    subprocess.run(["tar", "-xf", str(sdist), "-C", str(tmp_path)], check=True)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    assert wheel_names(build("wheel", source, tmp_path / "wheel")) == wheel_names(wheel)


def test_unpacked_wheel_imports_every_package(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "empty").mkdir()
    code = "import qmc.passes, qmc.targets, qmc.cost_models, qmc.cli as cli; print(cli.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    )
    assert Path(done.stdout.strip()) == tmp_path / "site" / "qmc" / "cli.py"


def test_linked_folders_are_relative_links() -> None:
    for name in LINKED:
        assert (ROOT / "qmc" / name).readlink() == Path("..", name)
