"""A program that measures kernels of one layer in turns: its C, and the constants that it reads.

Constants are read from a file when the program starts, so that compiling takes no longer for large
layers; kernels see them declared as they are in a build.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qmc.codegen.cfile import CFile
from qmc.codegen.kernel import Kernel, tensor_bytes
from qmc.codegen.vector.kernel import MORE_PIXELS
from qmc.integer import IntegerNetwork
from qmc.targets import KernelFamily

_FOLDER = Path(__file__).parent
#: Beyond inputs a kernel may read.
_BEYOND = 64


@dataclass(frozen=True, slots=True)
class TrialProgram:
    """What :func:`print_trial` makes.

    Attributes:
        files: C to be compiled together.
        constants: content of the file that the program is given.
        sides: kernels in it.
    """

    files: tuple[CFile, ...]
    constants: bytes
    sides: int


def print_trial(
    network: IntegerNetwork, kernels: tuple[Kernel, ...], family: KernelFamily | None
) -> TrialProgram:
    """Print the program.

    Args:
        network: what the layer is part of.
        kernels: of one layer, with distinct names.
        family: the vector unit that they are written for.
    """
    return print_sides([network] * len(kernels), kernels, family)


def print_sides(
    networks: Sequence[IntegerNetwork], kernels: Sequence[Kernel], family: KernelFamily | None
) -> TrialProgram:
    """As :func:`print_trial`, for kernels of one layer at several widths: a network for each."""
    constants = [constant for kernel in kernels for constant in kernel.constants]
    declared = [f"extern {constant.declaration};" for constant in constants]
    prototypes = [f"{kernel.signature};" for kernel in kernels]
    head = ["#include <stdint.h>", "#include <string.h>", '#include "runtime.h"', *declared]
    more = [MORE_PIXELS] if any(MORE_PIXELS in kernel.text for kernel in kernels) else []
    bodies = [kernel.text.replace(MORE_PIXELS + "\n", "") for kernel in kernels]
    texts = {
        "trial.c": _print_main(networks, kernels),
        "sides.c": "\n".join([*more, *head, *prototypes, *bodies]),
        "kernels.h": "\n".join(head) + "\n",
        "runtime.h": (_FOLDER / "runtime.h").read_text(encoding="ascii"),
    }
    if family is not None:
        texts["vector.h"] = (_FOLDER / "vector.h").read_text(encoding="ascii")
        texts |= {header.name: header.text for header in family.headers}
    files = tuple(CFile(name, text.encode("ascii")) for name, text in texts.items())
    return TrialProgram(files, b"".join(c.values.tobytes() for c in constants), len(kernels))


def _print_main(networks: Sequence[IntegerNetwork], kernels: Sequence[Kernel]) -> str:
    layer = kernels[0].integer.layer
    sizes = [_largest(networks, name) for name in layer.inputs]
    places = range(len(sizes))
    constants = [constant for kernel in kernels for constant in kernel.constants]
    arrays = [
        f"{c.declaration.removeprefix('const ')} __attribute__((aligned({c.alignment or 8})));"
        for c in constants
    ]
    parts = {
        "arrays": arrays,
        "places": [f"    {{{c.name}, sizeof {c.name}}}," for c in constants],
        "prototypes": [f"{kernel.signature};" for kernel in kernels],
        "inputs": [
            f"static uint8_t master{i}[{sizes[i]}], input{i}[{sizes[i] + _BEYOND}] "
            "__attribute__((aligned(64)));"
            for i in places
        ],
        "refresh": [f"    memcpy(input{i}, master{i}, sizeof master{i});" for i in places],
        "masters": [f"    fill(master{i}, sizeof master{i});" for i in places],
        "calls": [_print_call(side, kernel, len(sizes)) for side, kernel in enumerate(kernels)],
        "output": [str(_largest(networks, layer.output))],
        "scratch": [str(max(kernel.scratch_bytes for kernel in kernels) // 4 + 1)],
        "sides": [str(len(kernels))],
    }
    text = (_FOLDER / "trial.c.in").read_text(encoding="ascii")
    for name, lines in parts.items():
        text = text.replace(f"@{name}@", "\n".join(lines))
    return text


def _largest(networks: Sequence[IntegerNetwork], tensor: str) -> int:
    return max(tensor_bytes(network, tensor) for network in networks)


def _print_call(side: int, kernel: Kernel, inputs: int) -> str:
    arguments = [f"input{i}" for i in range(inputs)] + ["output"]
    arguments += ["scratch"] if kernel.scratch_bytes else []
    return f"    case {side}:\n        {kernel.function}({', '.join(arguments)});\n        break;"
