"""ONNX's own backend tests through qmc: which pass, which are refused, and that none crashes.

    PYTHONPATH=. python benchmarks/onnx_backend_suite.py [--write]

``--write`` puts the names of the cases that pass into ``tests/onnx_backend_supported.txt``. Cases
run in processes of their own, so that a crash or hang of one is told and ends nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

SUPPORTED = Path(__file__).parent.parent / "tests" / "onnx_backend_supported.txt"
_KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
#: A case that takes longer hangs.
_SECONDS = 60


def all_cases() -> dict[str, TestCase]:
    """Every case whose model comes with the package, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for kind in _KINDS for case in load_model_tests(kind=kind)]
    return {f"{case.kind}/{case.name}": case for case in cases}


def operator(case: TestCase) -> str:
    """What the case is about: the operator of its last node."""
    return str(_load(case)[0].graph.node[-1].op_type)


def run_case(case: TestCase) -> str:
    """``pass``, ``refused: why``, or what went wrong.

    The model is read as it is too, which must not crash either.
    """
    from tests.onnx_backend import QmcBackend, load_unchanged

    model, data = _load(case)
    unchanged = _outcome(lambda: load_unchanged(model))
    if unchanged.startswith("crash"):
        return unchanged
    rep = QmcBackend.prepare(model)

    def compare() -> None:
        for inputs, expected in data:
            outputs = rep.run(inputs)
            _check(case, outputs, expected)
            off = rep.integer_error
            assert off <= 1.0, f"integers are off by {off:.2f} of what is allowed"

    return _outcome(compare)


def _outcome(work: Callable[[], None]) -> str:
    from qmc.errors import QmcError

    try:
        work()
    except QmcError as error:
        return f"refused: {error}" if "\n" not in str(error) else f"crash: lines in {error!r}"
    except AssertionError as error:
        return f"wrong: {' '.join(str(error).split())[:120]}"
    except Exception as error:
        return f"crash: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return "pass"


def _check(case: TestCase, outputs: Sequence[Any], expected: Sequence[Any]) -> None:
    """Compare values; the shape may differ in the batch of one that a vector gets."""
    rtol, atol = max(case.rtol, 1e-3), max(case.atol, 1e-5)
    for found, wanted in zip(outputs, expected, strict=False):
        assert found.size == np.size(wanted)
        np.testing.assert_allclose(found.reshape(np.shape(wanted)), wanted, rtol=rtol, atol=atol)


def _load(case: TestCase) -> tuple[onnx.ModelProto, list[tuple[list[Any], list[Any]]]]:
    if case.model is not None:
        return case.model, [(list(i), list(o)) for i, o in case.data_sets or []]
    folder = Path(str(case.model_dir))
    model = onnx.load(folder / "model.onnx")
    sets = [(_values(s, "input"), _values(s, "output")) for s in sorted(folder.glob("test_data*"))]
    return model, [one for one in sets if one[0]]


def _values(folder: Path, what: str) -> list[Any]:
    files = sorted(folder.glob(f"{what}_*.pb"), key=lambda f: int(f.stem.split("_")[1]))
    values: list[Any] = []
    for file in files:
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString(file.read_bytes())
            values.append(numpy_helper.to_array(tensor))
        except Exception:  # sequences and optionals
            values.append(None)
    return values


def _too_long(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"more than {_SECONDS} s")


def _work(names: list[str], answers: Connection) -> None:
    cases = all_cases()
    signal.signal(signal.SIGALRM, _too_long)
    for name in names:
        signal.alarm(_SECONDS)
        answers.send((name, run_case(cases[name])))
        signal.alarm(0)


def run_all(names: list[str]) -> dict[str, str]:
    """The result of every case; a process that dies is replaced."""
    found: dict[str, str] = {}
    while len(found) < len(names):
        rest = [name for name in names if name not in found]
        reader, writer = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(target=_work, args=(rest, writer))
        process.start()
        writer.close()
        try:
            while True:
                name, result = reader.recv()
                found[name] = result
        except EOFError:
            process.join()
            if process.exitcode:
                found[next(n for n in rest if n not in found)] = f"crash: exit {process.exitcode}"
    return found


def main() -> None:
    """Run everything and print what is of note."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", help="part of the names to run")
    parser.add_argument("--verbose", action="store_true", help="print every result")
    arguments = parser.parse_args()
    names = [name for name in sorted(all_cases()) if arguments.only in name]
    found = run_all(names)
    kinds = Counter(result.split(":")[0] for result in found.values())
    for name, result in found.items():
        if arguments.verbose or result.startswith(("crash", "wrong")):
            print(f"{name}: {result}")
    print(f"{len(found)} cases:", ", ".join(f"{count} {kind}" for kind, count in kinds.items()))
    if arguments.write:
        cases = all_cases()
        rows = [f"{operator(cases[name])} {name}\n" for name in names if found[name] == "pass"]
        SUPPORTED.write_text("".join(sorted(rows)), encoding="ascii")
    sys.exit(1 if kinds["crash"] else 0)


if __name__ == "__main__":
    main()
