"""docs/errors.md, from the classes themselves: ``python -m qmc.error_page > docs/errors.md``."""

from __future__ import annotations

from collections.abc import Iterator

from qmc import errors
from qmc.errors import QmcError

_HEAD = """\
# Errors

What a user can set right is told in one line on stderr: `qmc: error: ` with where, what, the value
found and what is allowed, and the code in brackets; the exit code is 2. From Python the same comes
as an exception of `qmc.errors`, all of them `QmcError`, with `code`. Codes keep their meaning.
Anything else (exit code 1, a traceback) is a bug of qmc.

This page is made from the classes (`python -m qmc.error_page > docs/errors.md`).

| code | class | meaning | for example |
| --- | --- | --- | --- |
"""

#: One error of each class as its constructor words it.
EXAMPLES: tuple[QmcError, ...] = (
    QmcError("size: found '12 apples'; allowed: a number with B, KB, KiB, MB or MiB"),
    errors.ModelError("net.onnx", "not an ONNX file: it ends after 512 bytes"),
    errors.UnsupportedOpError("net.onnx", "rnn", "LSTM", "not among the supported operators"),
    errors.TargetError("mine.yaml", "memories[1].word_bits", -8, "1 to 4096"),
    errors.SchemeError("scheme.yaml: weights: 'conv9': no such layer; allowed: conv1, conv2"),
    errors.DataError("images.npz: images: found float64 (10, 32, 32); allowed: N x H x W x C"),
    errors.QuantizationError("conv1", "channel 3: the accumulator may reach 2200000000"),
    errors.MappingError("conv1", "glb", "loops of K multiply to 12; the layer has 16"),
    errors.CapacityError("conv1", "glb", needed_bytes=131072, available_bytes=102400),
    errors.NoMappingError("conv1", "mine", "glb needs 600 bytes for the least tile; it has 512"),
    errors.LatencyLimitError("conv1", "eyeriss", 20000, 24576, proved=True),
    errors.CostModelError("fit.json: calibrated for 'simba'; allowed: 'eyeriss'"),
    errors.CodegenError("conv1", "partial sums of 48 bits; allowed: at most 32"),
    errors.BuildError("C compiler: none of cc, gcc, clang found; install one or set $CC"),
    errors.OutputError("build: holds files not made by qmc; allowed: a new folder"),
    errors.VersionError("apache-tvm: found 0.25.0; allowed: 0.27.0.post1"),
    errors.ExtraError("finetune", "torch", "train"),
)


def error_classes(base: type[QmcError] = QmcError) -> Iterator[type[QmcError]]:
    """The base and all classes of ``qmc.errors`` below it, in the order of their codes.

    Others are made at run time: :mod:`qmc.passes.user_errors` has stand-ins of some for TVM.
    """
    found = {base}
    waiting = [base]
    while waiting:
        below = waiting.pop().__subclasses__()
        found.update(below)
        waiting += below
    written = [one for one in found if one.__module__ == errors.__name__]
    yield from sorted(written, key=lambda one: (one.code, one.__name__))


def errors_page() -> str:
    """The text of docs/errors.md.

    Raises:
        KeyError: a class has no example.
    """
    examples = {type(example): str(example) for example in EXAMPLES}
    rows = [
        f"| {one.code} | `{one.__name__}` | {_meaning(one)} | `{_cell(examples[one])}` |"
        for one in error_classes()
    ]
    return _HEAD + "\n".join(rows) + "\n"


def _meaning(one: type[QmcError]) -> str:
    """First line of the docstring, and what else catches it."""
    lines = (one.__doc__ or "").strip().splitlines()
    (parent,) = one.__bases__
    told = _cell(lines[0])
    return told if parent in (QmcError, Exception) else f"{told} A `{parent.__name__}`."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(errors_page(), end="")
