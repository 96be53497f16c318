from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from qmc import cache
from qmc.cost_models.analytical import AnalyticalModel
from qmc.errors import NoMappingError
from qmc.layer import Layer, LoopBounds, Op, Precision
from qmc.schedule import Task, _Clock, schedule_network, search_all
from qmc.search_result import SearchResult
from qmc.targets import load_target


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def conv(name: str, **bounds: int) -> Layer:
    return Layer(name, Op.CONV, (f"{name}_in",), f"{name}_out", LoopBounds(**bounds))


WORK = [
    (conv("a", K=8, C=4, P=6, Q=5, R=3, S=3), Precision()),
    (conv("b", G=8, P=6, Q=5, R=3, S=3), Precision()),
    (conv("c", K=8, C=4, P=6, Q=5, R=3, S=3), Precision()),
    (conv("d", K=8, C=4, P=6, Q=5, R=3, S=3), Precision(4, 8, 8)),
]


def run(**options: object) -> dict[str, SearchResult]:
    return schedule_network(WORK, load_target("simba"), AnalyticalModel(), **options)


def timeless(results: dict[str, SearchResult]) -> list[tuple[str, SearchResult]]:
    return [
        (name, replace(found, certificate=replace(found.certificate, seconds=0)))
        for name, found in results.items()
    ]


def test_schedule_equal_problems_share_one_search() -> None:
    found = run()
    assert list(found) == ["a", "b", "c", "d"]
    assert found["a"] is found["c"]
    assert found["d"].cost.energy_pj < found["a"].cost.energy_pj


def test_schedule_is_the_same_for_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.CACHE_VARIABLE, "")
    assert timeless(run(jobs=1)) == timeless(run(jobs=3))


def test_schedule_reports_progress_by_layer() -> None:
    ticks: list[tuple[int, int]] = []
    run(progress=lambda done, total: ticks.append((done, total)))
    assert ticks[-1] == (4, 4)
    assert ticks == sorted(ticks)


def test_schedule_takes_finished_problems_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run()
    monkeypatch.setattr("qmc.schedule.search", None)
    assert run() == first


def test_schedule_ignores_corrupted_entries(own_cache: Path) -> None:
    first = run()
    entries = [path for path in (own_cache / "mappings").rglob("*") if path.is_file()]
    assert len(entries) == 3
    entries[0].write_bytes(b"")
    entries[1].write_bytes(entries[1].read_bytes()[:-7])
    entries[2].write_bytes(b"x" * 4096)
    assert timeless(run()) == timeless(first)


def test_schedule_unmappable_layer_is_named() -> None:
    work = [*WORK, (conv("too_tall", K=4, R=13), Precision())]
    with pytest.raises(NoMappingError, match="layer 'too_tall'"):
        schedule_network(work, load_target("eyeriss"), AnalyticalModel(), jobs=2)


def test_cache_key_depends_on_content_not_on_set_order() -> None:
    letters = ["W", "I", "O", "x", "y"]
    assert cache.cache_key(frozenset(letters)) == cache.cache_key(frozenset(reversed(letters)))
    assert cache.cache_key({"a": 1, "b": 2}) == cache.cache_key({"b": 2, "a": 1})
    assert cache.cache_key(("a", 1)) != cache.cache_key(("a", 2))


def _write_many(folder: str, count: int) -> None:
    import os

    os.environ[cache.CACHE_VARIABLE] = folder
    for index in range(count):
        cache.store("ab" + str(index % 5), list(range(index % 5, 2000)))


def test_cache_parallel_writers_leave_whole_entries(own_cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(str(own_cache), 60)) for _ in range(3)]
    for writer in writers:
        writer.start()
    writers[0].kill()
    for writer in writers:
        writer.join()
    assert [cache.load("ab" + str(i)) for i in range(5)] == [list(range(i, 2000)) for i in range(5)]


def test_cache_unwritable_folder_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(file / "below"))
    cache.store("abc", 1)
    assert cache.load("abc") is None


HARD = [(conv("hard", K=96, C=48, P=28, Q=20, R=3, S=3), Precision())]


def test_schedule_cut_short_by_a_budget_is_not_kept(own_cache: Path) -> None:
    target, model = load_target("simba"), AnalyticalModel()
    (hurried,) = schedule_network(HARD, target, model, budget_seconds=1e-6).values()
    assert not hurried.certificate.proved
    assert hurried.certificate.gap > 0
    assert not (own_cache / "mappings").exists()
    (exact,) = schedule_network(HARD, target, model).values()
    assert exact.certificate.proved
    assert hurried.certificate.lower_bound <= exact.certificate.best
    assert exact.certificate.best <= hurried.certificate.best


def test_schedule_within_its_budget_is_proved_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(budget_seconds=600)
    assert all(found.certificate.proved for found in first.values())
    monkeypatch.setattr("qmc.schedule.search", None)
    assert run(budget_seconds=600) == first


def test_clock_passes_unspent_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    clock = _Clock(12.0, searches=4, workers=2)
    assert clock.share() == pytest.approx(6.0)  # two of four at a time: each half of the time
    now[0] += 2
    assert clock.share() == pytest.approx(10 * 2 / 3)
    now[0] += 20
    assert clock.share() == 0


def test_search_all_tells_which_tasks_have_no_mapping() -> None:
    tall = conv("too_tall", K=4, R=13)
    pairs = [WORK[0], (tall, Precision())]
    tasks = [Task(*pair, load_target("eyeriss"), AnalyticalModel()) for pair in pairs]
    found = search_all(tasks)
    assert isinstance(found[0], SearchResult)
    assert isinstance(found[1], NoMappingError)
    with pytest.raises(NoMappingError, match="too_tall"):
        search_all(tasks, required=2)


def test_tasks_of_different_limits_have_different_entries() -> None:
    task = Task(*WORK[0], load_target("simba"), AnalyticalModel())
    limited = replace(task, max_cycles=10_000)
    named = replace(task, layer=replace(task.layer, name="other"))
    assert task.key() == named.key() != limited.key()
