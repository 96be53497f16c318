"""From samples to figures, and records that outlive their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qmc.codegen.vector.knobs import Knobs, Outside
from qmc.errors import OutputError
from qmc.tuning.features import FEATURES
from qmc.tuning.ranking import FEW, Ranking, next_batch
from qmc.tuning.records import NO_KNOBS_TEXT, Record, RecordStore, knobs_text
from qmc.tuning.timing import Timing, read_timings, typical


def record(problem: str, knobs: str, ratio: float, features: tuple[float, ...] = ()) -> Record:
    return Record(problem, knobs, features, Timing(100 * ratio, ratio, "0"))


def test_samples_that_were_interrupted_do_not_count() -> None:
    samples = np.array([100.0, 101, 99, 100, 102, 5000, 9000, 100])
    assert typical(samples) == pytest.approx(100, abs=0.5)
    assert typical(np.array([100.0] * 3 + [4000.0] * 2)) == 100


def test_ratios_are_turn_by_turn() -> None:
    """The second turn ran at half speed, which harms neither figure."""
    printed = "aa\naa\n10 10 10\n20 20 20\n20 20 20\n40 40 40\n"
    first, second = read_timings(printed, 2)
    assert (first.ns, first.ratio) == (10, 1)
    assert (second.ns, second.ratio, second.checksum) == (20, 2, "aa")


@pytest.mark.parametrize("printed", ["", "aa\n1 2\n", "aa\nbb\n1\n2\n3\n"])
def test_cut_short_output_is_told(printed: str) -> None:
    with pytest.raises(ValueError, match="lines of samples"):
        read_timings(printed, 2)


def test_records_are_kept_apart_by_machine(tmp_path: Path) -> None:
    first, second = (RecordStore(tmp_path / "r.sqlite", name) for name in ("a", "b"))
    first.add([record("p", NO_KNOBS_TEXT, 1.0, (1.0, 2.0)), record("p", '{"pixels":2}', 0.5)])
    first.add([record("p", NO_KNOBS_TEXT, 9.0)])
    assert [(r.knobs, r.timing.ratio) for r in first.all()] == [
        ('{"pixels":2}', 0.5),
        (NO_KNOBS_TEXT, 1.0),
    ]
    assert first.all()[1].features == (1.0, 2.0)
    assert second.all() == []


def test_killed_process_loses_nothing(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; "
        "from qmc.tuning.records import *; from qmc.tuning.timing import Timing; "
        "store = RecordStore(Path(sys.argv[1]), 'm'); "
        "store.add([Record('p', '{}', (), Timing(1.0, 1.0, '0'))]); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "r.sqlite"
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=os.environ, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [r.problem for r in RecordStore(path, "m").all()] == ["p"]


def test_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    path.write_text("words, and more words than a header has" * 100, encoding="ascii")
    with pytest.raises(OutputError, match="cannot be used as a store"):
        RecordStore(path, "m")


def test_knobs_are_told_by_what_differs() -> None:
    assert (
        knobs_text(Knobs(vectors=2, outside=Outside.PIXELS)) == '{"vectors":2,"outside":"pixels"}'
    )
    assert str(Knobs()) == "defaults"


def test_learned_order_finds_what_random_order_misses() -> None:
    """Times follow one feature; a few records teach it, and the best comes first."""
    random = np.random.default_rng(1)
    rows = random.normal(size=(300, len(FEATURES)))
    ratios = np.exp(rows[:, 5])
    known = [record("p", str(i), float(ratios[i]), tuple(rows[i])) for i in range(100)]
    ranking = Ranking(known)
    chosen = next_batch(ranking, rows[100:].tolist(), 8, random)
    assert len(set(chosen)) == 8
    drawn = next_batch(Ranking([]), rows[100:].tolist(), 8, np.random.default_rng(1))
    assert ratios[100:][chosen].min() <= np.sort(ratios[100:])[4]
    assert ratios[100:][chosen][:6].mean() < 0.3 * ratios[100:][drawn].mean()


def test_few_records_teach_nothing() -> None:
    known = [record("p", str(i), 1.0, (0.0,) * len(FEATURES)) for i in range(FEW - 1)]
    assert not Ranking(known).is_learned
    assert next_batch(Ranking(known), [[0.0]] * 3, 8, np.random.default_rng(0)) != []
