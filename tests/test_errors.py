"""Error classes: a code, a meaning and an example each, and a page that says so."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from qmc import cli
from qmc.error_page import EXAMPLES, error_classes, errors_page
from qmc.errors import QmcError

PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
CLASSES = list(error_classes())


def test_errors_page_is_current() -> None:
    wanted = errors_page()
    assert PAGE.read_text(encoding="utf-8") == wanted, "python -m qmc.error_page > docs/errors.md"


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.__name__)
def test_class_has_a_code_of_its_own_and_an_example(one: type[QmcError]) -> None:
    assert re.fullmatch(r"E1\d\d", one.code)
    assert [other for other in CLASSES if other.code == one.code] == [one]
    assert [type(example) for example in EXAMPLES].count(one) == 1
    assert one.__doc__


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: type(one).__name__)
def test_message_is_one_line(example: QmcError) -> None:
    assert str(example).strip()
    assert len(str(example).splitlines()) == 1


def test_command_line_tells_the_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["qmc", "verify", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"qmc: error: .* \[E140\]\n", printed.err)
