"""ONNX's own backend tests: the committed list passes, what is not on it is refused in one line."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from onnx.backend.test.case.test_case import TestCase

from benchmarks.onnx_backend_suite import SUPPORTED, all_cases, run_case

LISTED = [line.split()[1] for line in Path(SUPPORTED).read_text(encoding="ascii").splitlines()]
#: Every so many of the other cases run here; benchmarks/onnx_backend_suite.py runs all of them.
STRIDE = 23


@cache
def cases() -> dict[str, TestCase]:
    return all_cases()


@pytest.mark.parametrize("name", LISTED)
def test_listed_case_passes_in_float_and_in_integers(name: str) -> None:
    assert run_case(cases()[name]) == "pass"


@pytest.mark.parametrize("part", range(8))
def test_other_cases_are_refused_in_one_line(part: int) -> None:
    others = sorted(set(cases()) - set(LISTED))[part * STRIDE // 8 :: STRIDE * 4]
    assert len(others) > 10
    for name in others:
        assert run_case(cases()[name]).startswith("refused: "), name
