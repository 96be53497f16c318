"""Instructions that each layer of an emitted program executes under qemu's user mode.

A plugin of qemu (``count_instructions.c``) is compiled for this computer and told of every block of
instructions that the program enters; blocks are the layer's whose function was entered last.
"""

from __future__ import annotations

from pathlib import Path

from qmc.codegen.build import find_compiler, run_command

_SOURCE = Path(__file__).with_name("count_instructions.c")
_FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC")


def counting_environment(network: str, folder: Path) -> dict[str, str]:
    """Variables with which a program run by qemu counts.

    Args:
        network: the prefix of its C names.
        folder: where the plugin and its result go.

    Raises:
        BuildError: there is no C compiler for this computer.
    """
    plugin = folder / "count_instructions.so"
    run_command([find_compiler(), *_FLAGS, str(_SOURCE), "-o", str(plugin)], folder)
    result = _result(folder)
    return {"QEMU_PLUGIN": f"file={plugin},prefix={network},out={result}"}


def read_counts(folder: Path, layers: int) -> tuple[int, ...] | None:
    """Instructions by layer; None where nothing was counted, as by a qemu without plugins."""
    try:
        text = _result(folder).read_text(encoding="ascii")
    except OSError:
        return None
    counts = [0] * layers
    for line in text.splitlines():
        index, count = line.split()
        counts[int(index)] = int(count)
    return tuple(counts)


def _result(folder: Path) -> Path:
    return folder / "instructions.txt"
