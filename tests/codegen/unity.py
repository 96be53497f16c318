"""Emitted programs as one shared library each, called with buffers that end at a guard page."""

from __future__ import annotations

import ctypes
import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmc.codegen import emit
from qmc.codegen.build import find_compiler, run_command, write_files
from qmc.codegen.vector.kernel import MORE_PIXELS
from qmc.codegen.vector.knobs import Knobs
from qmc.integer import IntegerNetwork
from qmc.packing import pack_activation, storage_bytes, unpack_activation
from qmc.reference import run_network
from qmc.targets import KernelFamily, load_target

_PAGE = mmap.PAGESIZE
_PROT_NONE = 0


#: The unit that is emulated where this computer lacks it, and what it then still needs.
_EMULATED = {"amx_tile", "amx_int8"}
_EMULATION = Path(__file__).with_name("amx_emulation.h")


def family_of(target: str) -> KernelFamily:
    """The vector unit of a machine; the test is skipped where this computer lacks it.

    Tiles are emulated: kernels built with :func:`emulation_flags` then need vectors alone.
    """
    family = load_target(target).kernels
    assert family is not None
    if _EMULATED <= set(family.cpu_flags) and family.lacking_here():
        others = tuple(flag for flag in family.cpu_flags if flag not in _EMULATED)
        family = replace(family, cpu_flags=others, state_components=(), check="1")
    missing = family.lacking_here()
    if missing:
        pytest.skip(f"this processor has no {', '.join(missing)}")
    return family


def emulation_flags(family: KernelFamily) -> tuple[str, ...]:
    """Flags of the compiler that put the emulation in the place of tile instructions."""
    is_emulated = family.tile_bytes and not _EMULATED <= set(family.cpu_flags)
    return ("-include", str(_EMULATION)) if is_emulated else ()


class Guarded:
    """Memory whose last byte is followed by a page that must not be touched."""

    def __init__(self, size: int) -> None:
        pages = -(-size // _PAGE)
        self._map = mmap.mmap(-1, (pages + 1) * _PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._map))
        libc = ctypes.CDLL(None, use_errno=True)
        guard = ctypes.c_void_p(start + pages * _PAGE)
        assert libc.mprotect(guard, ctypes.c_size_t(_PAGE), _PROT_NONE) == 0
        self.size = size
        self.address = start + pages * _PAGE - size

    def write(self, data: bytes) -> None:
        ctypes.memmove(self.address, data, self.size)

    def read(self) -> np.ndarray:
        return np.frombuffer(ctypes.string_at(self.address, self.size), np.uint8)


def first_difference(
    network: IntegerNetwork,
    codes: np.ndarray,
    family: KernelFamily,
    folder: Path,
    flags: tuple[str, ...] = ("-O1",),
    knobs: dict[str, Knobs] | None = None,
) -> str | None:
    """Compile, run and compare every layer with the reference.

    Args:
        network: what to emit.
        codes: one input, (1, ...).
        family: the vector unit.
        folder: an empty one.
        flags: of the compiler.
        knobs: how kernels are built, by layer.

    Returns:
        The first layer that differs; None where all are equal.
    """
    write_files(emit(network, {}, family, knobs), folder)
    library = _compile(folder, network.name, (*flags, *emulation_flags(family)))
    source = Guarded(storage_bytes(codes.shape, network.quantization[network.input].bits))
    shape, bits = network.tensors[network.output].shape, network.quantization[network.output].bits
    result = Guarded(storage_bytes(shape, bits))
    source.write(pack_activation(codes, network.quantization[network.input].bits).tobytes())
    seen: list[bytes] = []
    trace = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong)(
        lambda _, data, size: seen.append(ctypes.string_at(data, size))
    )
    ctypes.c_void_p.in_dll(library, "tracer").value = ctypes.cast(trace, ctypes.c_void_p).value
    run = getattr(library, f"{network.name}_run")
    assert run(ctypes.c_void_p(source.address), ctypes.c_void_p(result.address)) == 0
    values = run_network(network, codes)
    for integer, data in zip(network.layers, seen, strict=True):
        name = integer.layer.output
        width = network.quantization[name].bits
        got = unpack_activation(np.frombuffer(data, np.uint8), width, network.tensors[name].shape)
        if not np.array_equal(got, values[name]):
            place = np.argwhere(got != values[name])[0].tolist()
            return f"{integer.layer.name} {integer.layer} at {place}"
        if not np.array_equal(pack_activation(got, width), np.frombuffer(data, np.uint8)):
            return f"{integer.layer.name}: bits beyond the channels"
    assert np.array_equal(unpack_activation(result.read(), bits, shape), values[network.output])
    return None


def _compile(folder: Path, name: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """All files as one translation unit: the headers are read once."""
    kernels = sorted(path.name for path in (folder / "kernels").glob("*.c"))
    lines = [
        MORE_PIXELS,  # the headers are read once, for all kernels
        f'#include "{name}.c"',
        '#include "weights.c"',
        *(f'#include "kernels/{kernel}"' for kernel in kernels),
        "void (*tracer)(int, const void *, unsigned long);",
        "void qmc_trace(int layer, const void *data, unsigned long size)",
        "{",
        "    tracer(layer, data, size);",
        "}",
    ]
    (folder / "unity.c").write_text("\n".join(lines) + "\n", encoding="ascii")
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
    command = [find_compiler(), *strict, *flags, "-DQMC_TRACE", "-shared", "-fPIC", "unity.c"]
    run_command([*command, "-o", "unity.so"], folder)
    return ctypes.CDLL(str(folder / "unity.so"))
