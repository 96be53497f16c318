"""The same input gives the same bytes, whatever hash seed, threads, processes and finished work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.small_build import small_images, small_model


def compile_apart(
    folder: Path, model: Path, images: Path, seed: int, threads: int
) -> dict[str, bytes]:
    """The files of a build made by a process of its own, without results of earlier ones."""
    cache = folder / "cache"
    cache.mkdir(parents=True)
    code = Path(os.environ["QMC_CACHE_DIR"], "machine-code")
    code.mkdir(exist_ok=True)
    (cache / "machine-code").symlink_to(code)  # compiled kernels are no results
    build = folder / "build"
    subprocess.run(
        [
            *(sys.executable, "-m", "qmc.cli", "compile", str(model), "--target", "eyeriss"),
            *("--scheme", "w4a8", "--calib", str(images), "--eval", str(images)),
            *("--jobs", str(threads), "--output", str(build)),
        ],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONHASHSEED": str(seed),
            "QMC_CACHE_DIR": str(cache),
            "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        },
        check=True,
        capture_output=True,
    )
    files = (path for path in build.rglob("*") if path.is_file())
    return {str(path.relative_to(build)): path.read_bytes() for path in files}


def test_bytes_do_not_depend_on_hash_seed_threads_or_processes(tmp_path: Path) -> None:
    model, images = small_model(tmp_path), small_images(tmp_path)
    one = compile_apart(tmp_path / "one", model, images, seed=1, threads=1)
    two = compile_apart(tmp_path / "two", model, images, seed=4242, threads=2)
    assert one.keys() == two.keys()
    assert not [name for name in one if one[name] != two[name]]
