"""Finished evaluations of candidates in an SQLite file: nothing is lost when a run is killed."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

from qmc.errors import OutputError


class EvaluationStore:
    """Results by key; each is on disk when :meth:`put` returns (write-ahead log)."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            OutputError: it cannot be written, or is no such store.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = Lock()  # trials run in threads, and one connection takes one at a time
            self._database = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS evaluations (key TEXT PRIMARY KEY, result TEXT)"
            )
            self._database.commit()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{path}: cannot be used as a store: {error}") from error

    def get(self, key: str) -> Any:
        """The result of that key, None where there is none."""
        query = "SELECT result FROM evaluations WHERE key = ?"
        with self._lock:
            row = self._database.execute(query, (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, result: Any) -> None:
        """Keep a result, JSON-able plain data; the first one of a key stays."""
        try:
            with self._lock, self._database:
                self._database.execute(
                    "INSERT OR IGNORE INTO evaluations VALUES (?, ?)", (key, json.dumps(result))
                )
        except sqlite3.Error as error:
            raise OutputError(f"{self._path}: cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
