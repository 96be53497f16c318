"""Verification of emitted folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmc.codegen import emit, golden_files
from qmc.codegen.build import write_files
from qmc.errors import DataError
from qmc.verify import verify_build
from tests.codegen.networks import every_op


@pytest.fixture
def build(tmp_path: Path) -> Path:
    builder = every_op()
    network = builder.network()
    write_files(emit(network, {}) + golden_files(network, builder.codes(2)), tmp_path)
    return tmp_path


def test_verify_good_folder_is_ok(build: Path) -> None:
    before = sorted(build.rglob("*"))
    result = verify_build(build)
    assert result.ok
    assert result.cases == 2
    assert result.first_difference is None
    assert sorted(build.rglob("*")) == before


def test_verify_changed_constant_names_first_layer(build: Path) -> None:
    kernel = next((build / "kernels").glob("*l003_*.c"))
    text = kernel.read_text()
    kernel.write_text(text.replace("qmc_clamp(code, ", "qmc_clamp(code + 1, "))
    result = verify_build(build)
    assert not result.ok
    assert "layer 3 'layer3'" in str(result.first_difference)


def test_verify_wrong_packed_size_raises(build: Path) -> None:
    path = next((build / "golden" / "1").glob("l002_*.bin"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="packs to"):
        verify_build(build)


def test_verify_folder_without_vectors_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="golden vectors"):
        verify_build(tmp_path)
