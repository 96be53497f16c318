from pathlib import Path

import pytest

from qmc.errors import OutputError
from qmc.output_folder import MARK, whole_folder


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def write_then_fail(folder: Path, failure: BaseException) -> None:
    with whole_folder(folder) as work:
        (work / MARK).write_text("new")
        raise failure


def test_whole_folder_success_appears_with_all_files(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "build") as work:
        (work / MARK).write_text("plan")
        (work / "kernels").mkdir()
        (work / "kernels" / "a.c").write_text("int a;")
        assert not (tmp_path / "deep" / "build").exists()
    assert contents(tmp_path / "deep") == {f"build/{MARK}": "plan", "build/kernels/a.c": "int a;"}


@pytest.mark.parametrize("failure", [ValueError("bug"), KeyboardInterrupt()])
def test_whole_folder_failure_leaves_nothing_behind(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises(type(failure)):
        write_then_fail(tmp_path / "build", failure)
    assert list(tmp_path.iterdir()) == []


def test_whole_folder_failure_keeps_earlier_build(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    (build / MARK).write_text("old")
    with pytest.raises(RuntimeError):
        write_then_fail(build, RuntimeError())
    assert contents(tmp_path) == {f"build/{MARK}": "old"}


def test_whole_folder_earlier_build_is_replaced_whole(tmp_path: Path) -> None:
    build = tmp_path / "build"
    build.mkdir()
    (build / MARK).write_text("old")
    (build / "stale.c").write_text("")
    with whole_folder(build) as work:
        (work / MARK).write_text("new")
    assert contents(tmp_path) == {f"build/{MARK}": "new"}


def test_whole_folder_foreign_content_raises(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not made by qmc"), whole_folder(tmp_path):
        pass
    assert contents(tmp_path) == {"notes.txt": "mine"}


def test_whole_folder_under_a_file_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        whole_folder(tmp_path / "file" / "build"),
    ):
        pass
