"""Kernels measured through TVM's RPC: tracker, server and client on this computer."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmc.errors import BuildError, QmcError
from qmc.rpc import RemoteRunner, parse_address, serve
from qmc.tuning.runner import LocalRunner

pytest.importorskip("tornado", reason="the tracker needs it")


def test_board_runs_what_it_is_sent(tmp_path: Path) -> None:
    from tvm.rpc.tracker import Tracker

    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ntest "$2" = 7 || exit 3\ncat "$1"\n', encoding="ascii")
    tracker = Tracker("127.0.0.1", 9400, 9499, silent=True)
    try:
        server = serve("127.0.0.1", ("127.0.0.1", tracker.port), "toy")
        try:
            runner = RemoteRunner(("127.0.0.1", tracker.port), "toy")
            assert runner.describe() == LocalRunner().describe()
            assert runner.run(program, b"1 2\n3 4\n", ("7",)) == "1 2\n3 4\n"
            with pytest.raises(BuildError, match="board 'toy'"):
                runner.run(program, b"", ("8",))
        finally:
            server.terminate()
    finally:
        tracker.terminate()


def test_missing_tracker_is_told() -> None:
    with pytest.raises(QmcError, match=r"--board: board 'toy' at 127\.0\.0\.1:1"):
        RemoteRunner(("127.0.0.1", 1), "toy")


def test_address_is_read() -> None:
    assert parse_address("pi:9190") == ("pi", 9190)
    for wrong in ("pi", ":9190", "pi:x", "pi:0", "pi:70000"):
        with pytest.raises(QmcError, match="allowed: HOST:PORT"):
            parse_address(wrong)
