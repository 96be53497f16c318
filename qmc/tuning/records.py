"""Measured kernels in an SQLite file: a killed run loses nothing, all networks share it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from qmc.codegen.vector.knobs import NO_KNOBS, Knobs
from qmc.errors import OutputError
from qmc.tuning.features import VERSION
from qmc.tuning.timing import Timing

_TABLE = """CREATE TABLE IF NOT EXISTS kernels (
    machine TEXT, version INTEGER, problem TEXT, knobs TEXT, features TEXT,
    ns REAL, ratio REAL, checksum TEXT, PRIMARY KEY (machine, version, problem, knobs))"""


@dataclass(frozen=True, slots=True)
class Record:
    """One measured kernel.

    Attributes:
        problem: key of the layer.
        knobs: as text, see :func:`knobs_text`.
        features: see :mod:`qmc.tuning.features`; empty for kernels without choices.
        timing: what was measured; its ratio is to the defaults.
    """

    problem: str
    knobs: str
    features: tuple[float, ...]
    timing: Timing


def knobs_text(knobs: Knobs) -> str:
    """Knobs as they stand in records."""
    return json.dumps(knobs.to_data(), separators=(",", ":"))


#: The defaults, as they stand in records.
NO_KNOBS_TEXT = knobs_text(NO_KNOBS)


class RecordStore:
    """Records of one machine; each batch is on disk when :meth:`add` returns (write-ahead log)."""

    def __init__(self, path: Path, machine: str) -> None:
        """Open or make the file.

        Args:
            path: the file.
            machine: hash of the machine, its kernels and the compiler.

        Raises:
            OutputError: it cannot be written, or is no such store.
        """
        self._path, self._machine, self._lock = path, machine, Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.execute(_TABLE)
            self._database.commit()
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{path}: cannot be used as a store: {error}") from error

    def add(self, records: list[Record]) -> None:
        """Keep a batch; the first measurement of a kernel stays.

        Raises:
            OutputError: the file cannot be written.
        """
        rows = [
            (
                *(self._machine, VERSION, record.problem, record.knobs),
                json.dumps(record.features),
                *(record.timing.ns, record.timing.ratio, record.timing.checksum),
            )
            for record in records
        ]
        try:
            with self._lock, self._database:
                self._database.executemany(
                    "INSERT OR IGNORE INTO kernels VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
        except sqlite3.Error as error:
            raise OutputError(f"{self._path}: cannot be written: {error}") from error

    def all(self) -> list[Record]:
        """Everything measured on the machine, in the order of keys."""
        query = (
            "SELECT problem, knobs, features, ns, ratio, checksum FROM kernels "
            "WHERE machine = ? AND version = ? ORDER BY problem, knobs"
        )
        try:
            with self._lock:
                rows = self._database.execute(query, (self._machine, VERSION)).fetchall()
        except sqlite3.Error as error:
            raise OutputError(f"{self._path}: cannot be read: {error}") from error
        return [
            Record(problem, knobs, tuple(json.loads(features)), Timing(ns, ratio, checksum))
            for problem, knobs, features, ns, ratio, checksum in rows
        ]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
