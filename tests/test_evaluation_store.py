"""The store of finished evaluations, used by many threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qmc.evaluation_store import EvaluationStore


def test_store_of_many_threads_loses_nothing(tmp_path: Path) -> None:
    store = EvaluationStore(tmp_path / "trials.sqlite")

    def work(thread: int) -> list[object]:
        for step in range(40):
            store.put(f"{thread}-{step}", [thread, step])
        return [store.get(f"{thread}-{step}") for step in range(40)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    store.close()
    assert found == [[[thread, step] for step in range(40)] for thread in range(8)]
    again = EvaluationStore(tmp_path / "trials.sqlite")
    assert again.get("7-39") == [7, 39]
    again.close()
