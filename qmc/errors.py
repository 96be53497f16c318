"""Every exception that qmc raises on purpose.

A message says where, what, the value found and what is allowed, on one line. The command line
prints ``qmc: error: <message> [<code>]`` and exits with 2 for these; anything else is our bug and
exits with 1. Codes never change their meaning; docs/errors.md lists them (qmc/error_page.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class QmcError(Exception):
    """A wrong option, or options that do not go together; the base of all user errors."""

    code: ClassVar[str] = "E100"

    def __str__(self) -> str:
        return " ".join(super().__str__().split())  # one line, whatever a library put into it


class ModelError(QmcError):
    """A model file that qmc cannot take."""

    code = "E110"

    def __init__(self, path: Path | str, reason: str, node: str | None = None) -> None:
        where = f"{path}: node '{node}'" if node else f"{path}"
        super().__init__(f"{where}: {reason}")


class UnsupportedOpError(ModelError):
    """An operator, or a use of one, outside the supported set; names the rule that is broken."""

    code = "E111"

    def __init__(self, path: Path | str, node: str, op: str, rule: str) -> None:
        super().__init__(path, f"operator {op}: {rule}", node)


class TargetError(QmcError):
    """A machine description that is wrong: file, key, value found, what is allowed."""

    code = "E120"

    def __init__(self, path: Path | str, key: str, value: object, allowed: str) -> None:
        super().__init__(f"{path}: {key}: found {value!r}; allowed: {allowed}")


class SchemeError(QmcError):
    """A quantization scheme that does not fit the network."""

    code = "E130"


class DataError(QmcError):
    """Calibration, evaluation or input data that cannot be used."""

    code = "E140"


class QuantizationError(QmcError):
    """A layer that cannot be quantized as asked."""

    code = "E150"

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"layer '{layer}': {reason}")


class MappingError(QmcError):
    """A mapping that is not legal for its layer and machine."""

    code = "E160"

    def __init__(self, layer: str, level: str, reason: str) -> None:
        super().__init__(f"layer '{layer}': mapping at {level}: {reason}")


class CapacityError(MappingError):
    """A tile that does not fit the memory it is kept in."""

    code = "E161"

    def __init__(self, layer: str, level: str, needed_bytes: int, available_bytes: int) -> None:
        self.needed_bytes = needed_bytes
        self.available_bytes = available_bytes
        super().__init__(
            layer, level, f"tile needs {needed_bytes} bytes, {level} has {available_bytes} bytes"
        )


class NoMappingError(QmcError):
    """No legal mapping exists; names the rule at fault and the nearest change that fits."""

    code = "E162"

    def __init__(self, layer: str, target: str, reason: str) -> None:
        super().__init__(f"layer '{layer}': no mapping fits target '{target}': {reason}")


class LatencyLimitError(NoMappingError):
    """Every mapping takes more cycles than were allowed."""

    code = "E163"

    def __init__(
        self, layer: str, target: str, max_cycles: int, least_cycles: int, proved: bool
    ) -> None:
        self.least_cycles = least_cycles
        fastest = "the fastest mapping" if proved else "the fastest mapping found"
        reason = f"at most {max_cycles} cycles are allowed; {fastest} takes {least_cycles}"
        super().__init__(layer, target, reason)


class CostModelError(QmcError):
    """A cost model that cannot price what it is given."""

    code = "E170"


class CodegenError(QmcError):
    """A layer for which no C can be emitted."""

    code = "E180"

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"layer '{layer}': {reason}")


class BuildError(QmcError):
    """The emitted C did not compile, or its program did not run."""

    code = "E181"


class OutputError(QmcError):
    """A place where output cannot be written."""

    code = "E190"


class VersionError(QmcError):
    """A library of the wrong version."""

    code = "E191"


class ExtraError(QmcError):
    """A command whose extra is not installed."""

    code = "E192"

    def __init__(self, command: str, library: str, extra: str) -> None:
        super().__init__(
            f"{command}: needs {library}, which is not installed; pip install 'qmc[{extra}]'"
        )
