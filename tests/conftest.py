"""Fixtures of all tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.small_build import compile_small

if TYPE_CHECKING:
    from qmc.compiler import Plan

#: Reference data and models beside the checkout; most machines have none.
SHARED = Path(__file__).parent.parent.parent / "shared"

# The same examples in every run, and no limit that a busy machine could break.
hypothesis.settings.register_profile("qmc", derandomize=True, deadline=None)
hypothesis.settings.load_profile("qmc")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--update-golden``."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden from what the code gives"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a cache of its own, shared by its workers: results of older code never count."""
    if not hasattr(config, "workerinput"):
        os.environ["QMC_CACHE_DIR"] = tempfile.mkdtemp(prefix="qmc-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove that cache."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["QMC_CACHE_DIR"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use ``shared``, so that ``-m shared_data`` selects them."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.shared_data)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data; without it the test is skipped.

    With ``QMC_REQUIRE_SHARED=1`` in the environment (set by ``.ci/run`` where the folder is
    present) a missing folder is a failure instead.
    """
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("QMC_REQUIRE_SHARED") == "1":
        pytest.fail(f"{SHARED} is missing, and QMC_REQUIRE_SHARED asks for it")
    pytest.skip(f"{SHARED} is absent: reference data and models are not part of the repository")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: ``text`` must equal the file ``tests/golden/<name>``."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="ascii")
        assert text == path.read_text(encoding="ascii"), f"{name}: see pytest --update-golden"

    return compare


@pytest.fixture(scope="session")
def small_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A small residual network, compiled with 4-bit weights and measured on six images."""
    return compile_small(tmp_path_factory.mktemp("small"))
