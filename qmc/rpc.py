"""Kernels measured on another computer through TVM's RPC: the board serves, this one asks.

TVM's RPC runs whatever it is sent and does not encrypt: trusted networks only. On the board::

    qmc serve --tracker HOST:9190 --board NAME

registers with a tracker (``python -m tvm.exec.rpc_tracker --port 9190``), and ``qmc tune ...
--tracker HOST:9190 --board NAME`` sends it programs that ``$CC`` compiled for it.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from typing import Any

from qmc.errors import BuildError, QmcError

_RUN, _DESCRIBE = "qmc.run_trial", "qmc.describe_processor"
_SECONDS = 600
#: Seconds to wait for a tracker.
_PATIENCE = 10
_FIRST_PORT, _LAST_PORT = 9090, 9199


def parse_address(text: str) -> tuple[str, int]:
    """``host:9190``.

    Raises:
        QmcError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise QmcError(f"--tracker: found {text!r}; allowed: HOST:PORT")
    return host, int(port)


def serve(host: str, tracker: tuple[str, int], board: str) -> Any:
    """Start serving in a process of its own; the server object has ``terminate``.

    Args:
        host: name or address under which to listen.
        tracker: where boards are registered.
        board: the name to be asked for by.

    Raises:
        QmcError: TVM's RPC cannot be started.
    """
    from tvm import rpc

    try:
        return rpc.Server(
            host,
            _FIRST_PORT,
            _LAST_PORT,
            tracker_addr=tracker,
            key=board,
            silent=True,
            server_init_callback=register,
        )
    except (RuntimeError, OSError) as error:
        raise QmcError(f"serve: {error}") from error


def register() -> None:
    """On the board: the two functions that it is asked for."""
    import tvm_ffi

    from qmc.tuning.runner import LocalRunner

    place = tvm_ffi.get_global_func("tvm.rpc.server.workpath", allow_missing=True)

    def run(program: str, constants: str, *arguments: str) -> str:
        find = place or tvm_ffi.get_global_func("tvm.rpc.server.workpath")
        path = Path(str(find(program)))
        path.chmod(0o755)
        done = subprocess.run(
            [str(path), str(find(constants)), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        return done.stdout

    tvm_ffi.register_global_func(_RUN, run, override=True)
    tvm_ffi.register_global_func(_DESCRIBE, LocalRunner().describe, override=True)


class RemoteRunner:
    """A board; see :class:`qmc.tuning.runner.Runner`."""

    def __init__(self, tracker: tuple[str, int], board: str) -> None:
        """Ask the tracker for a board of that name.

        Raises:
            QmcError: there is no tracker, or no such board.
        """
        from tvm import rpc

        self._where = f"board '{board}' at {tracker[0]}:{tracker[1]}"
        try:
            socket.create_connection(tracker, _PATIENCE).close()  # TVM would try for minutes
            found = rpc.connect_tracker(*tracker)
            self._session = found.request(board, session_timeout=_SECONDS)
        except Exception as error:  # TVM raises RuntimeError, or what its sockets raise
            raise QmcError(f"--board: {self._where}: {error}") from error

    def describe(self) -> str:
        """The board's processor."""
        return str(self._session.get_function(_DESCRIBE)())

    def run(self, program: Path, constants: bytes, arguments: tuple[str, ...]) -> str:
        """Send program and constants, and run it there."""
        try:
            self._session.upload(bytearray(program.read_bytes()), "trial")
            self._session.upload(bytearray(constants), "constants")
            return str(self._session.get_function(_RUN)("trial", "constants", *arguments))
        except Exception as error:  # whatever the board raised arrives as one of TVM's errors
            raise BuildError(f"{self._where}: {error}") from error
