"""Text files, arrays and builds with a few changes: read, or refused in one line; never a crash."""

from __future__ import annotations

import io
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qmc.compiler import Plan
from qmc.data import Use, load_dataset
from qmc.diff import diff
from qmc.errors import QmcError
from qmc.frontend import load_network
from qmc.html.command import write_report
from qmc.plan import load_io, load_plan
from qmc.preprocess import load_preprocess
from qmc.scheme_io import load_scheme
from qmc.targets import load_target
from tests.small_build import small_model

Read = Callable[[Path], object]
ROOT = Path(__file__).parent.parent
WORD = re.compile(rb"[A-Za-z0-9_.+-]+")
#: What takes the place of a word.
VALUES = (
    b"",
    *(b"null", b"-1", b"0", b"1e400", b".nan", b"-.inf", b"NaN", b"9" * 400, b"0x10", b"1.5"),
    *(b"[]", b"{}", b"[[]]", b"{a: 1}", b"[1, 2, 3]", b"'", b'"', b"true", b"x", b"*a", b"&a"),
    *(b"\xff", b"\x00", b"\xc3\xa4", b"!!python/object:os.system x", b"../../../etc/passwd"),
)


def edited(text: bytes, dice: random.Random) -> bytes:
    """One to three changes to words, lines and bytes."""
    for _ in range(dice.choice((1, 1, 2, 3))):
        lines, words = text.split(b"\n"), list(WORD.finditer(text))
        line = dice.randrange(len(lines))
        match dice.randrange(5):
            case 0 | 1 if words:
                word = dice.choice(words)
                text = text[: word.start()] + dice.choice(VALUES) + text[word.end() :]
            case 2:
                text = b"\n".join(lines[:line] + lines[line + dice.choice((1, 3)) :])
            case 3:
                text = b"\n".join([*lines[:line], *lines[dice.randrange(len(lines)) :]])
            case _ if text:
                at = dice.randrange(len(text))
                text = text[:at] + dice.randbytes(1) + text[at + 1 :]
    return text


def check(text: bytes, path: Path, read: Read, rounds: int = 60) -> None:
    """``read`` edited copies of a file: some are refused, each in one line."""
    dice, refusals = random.Random(path.name), []
    for _ in range(rounds):
        path.write_bytes(edited(text, dice))
        try:
            read(path)
        except QmcError as error:
            refusals.append(str(error))
    assert len(refusals) > rounds // 6
    assert not any("\n" in message for message in refusals)


@pytest.mark.parametrize("name", ["simba", "bit-fusion", "x86-avx2"])
def test_edited_machine_is_read_or_refused(tmp_path: Path, name: str) -> None:
    check((ROOT / "targets" / f"{name}.yaml").read_bytes(), tmp_path / f"{name}.yaml", load_target)


def test_edited_preprocessing_is_read_or_refused(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "fashion" / "fashion.preprocess.yaml").read_bytes()
    check(text, tmp_path / "p.yaml", lambda path: load_preprocess(tmp_path / "m.onnx", path))


def test_edited_scheme_is_read_or_refused(tmp_path: Path, small_plan: Plan) -> None:
    network = load_network(small_model(tmp_path))[1]
    text = (small_plan.output / "scheme.yaml").read_bytes()
    check(text, tmp_path / "scheme.yaml", lambda path: load_scheme(path, network))


@pytest.mark.parametrize("name", ["plan.yaml", "report.json"])
def test_edited_build_is_read_or_refused(tmp_path: Path, small_plan: Plan, name: str) -> None:
    build = tmp_path / "build"
    shutil.copytree(small_plan.output, build)

    def read(path: Path) -> None:
        if name == "report.json":
            diff(build, small_plan.output)
            write_report(build)
        else:
            load_plan(build)
            load_io(build)

    check((build / name).read_bytes(), build / name, read)


def test_edited_plan_is_compared_or_refused(tmp_path: Path, small_plan: Plan) -> None:
    for name in ("plan.yaml", "scheme.yaml"):  # without a report: a plan that was not built
        shutil.copy(small_plan.output / name, tmp_path)
    text = (tmp_path / "plan.yaml").read_bytes()
    check(text, tmp_path / "plan.yaml", lambda path: diff(path, small_plan.output))


def test_damaged_arrays_are_read_or_refused(tmp_path: Path) -> None:
    arrays = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
    np.savez(arrays, images=pixels, labels=np.arange(6))

    def read(path: Path) -> None:
        data = load_dataset(path, Use.EVAL, (1, 1, 5, 4), None)
        data.inputs(range(data.size))

    check(arrays.getvalue(), tmp_path / "images.npz", read, rounds=200)
