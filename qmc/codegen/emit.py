"""From an integer network and its mappings to the files of a C project. Design section 9."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qmc.codegen.arena import ALIGNMENT, Buffer, MemoryPlan, plan_memory
from qmc.codegen.cfile import CFile
from qmc.codegen.kernel import Kernel, make_kernel, tensor_bytes
from qmc.codegen.names import network_identifier
from qmc.codegen.network_printer import print_header, print_network, scratch_name
from qmc.codegen.project import print_cmake, print_main, print_makefile
from qmc.codegen.toolchain_file import TOOLCHAIN_FILE, toolchain_text
from qmc.codegen.variants import SharedConstants, Variant, name_suffix, share_constants
from qmc.codegen.vector.kernel import make_vector_kernel
from qmc.codegen.vector.knobs import NO_KNOBS, Knobs
from qmc.integer import IntegerNetwork
from qmc.mapping import Mapping
from qmc.targets import KernelFamily

#: Vectors and cache lines begin at multiples of this many bytes.
_VECTOR_ALIGNMENT = 64
_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Everything that is printed.

    Attributes:
        name: prefix of all C names.
        network: what is emitted.
        variants: at least one; the program takes the first that its processor runs.
    """

    name: str
    network: IntegerNetwork
    variants: tuple[Variant, ...]

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Of the first variant, one per layer, in execution order."""
        return self.variants[0].kernels

    @property
    def memory(self) -> MemoryPlan:
        """Of the first variant."""
        return self.variants[0].memory

    @property
    def family(self) -> KernelFamily | None:
        """The vector unit of the first variant; None where all kernels are plain C."""
        return self.variants[0].family

    @property
    def ram_peak_bytes(self) -> int:
        """Bytes of the static arena: intermediate tensors and scratch, without input and output."""
        return max(variant.memory.peak_bytes for variant in self.variants)

    @property
    def constants(self) -> SharedConstants:
        """Packed weights and all other constants, equal ones of several variants once."""
        return share_constants(self.variants)

    @property
    def flash_bytes(self) -> int:
        """Bytes of packed weights and all other constants."""
        return sum(constant.size_bytes for constant in self.constants.kept)

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights alone."""
        kept = self.constants.kept
        return sum(one.size_bytes for one in kept if one.name.endswith("_weights"))


def make_program(
    network: IntegerNetwork,
    mappings: Dict[str, Mapping],
    family: KernelFamily | None = None,
    knobs: Dict[str, Knobs] | None = None,
) -> Program:
    """Plan all kernels and the memory.

    Args:
        network: the integer network.
        mappings: by layer name; a layer without entry gets a natural nest.
        family: the target's vector unit, if it has one; layers that it has a form for do not follow
            their mapping.
        knobs: how the vector unit's kernels are built, by layer name.

    Raises:
        CodegenError: a layer or mapping that has no C form.
    """
    name = network_identifier(network.name)
    return Program(name, network, (_make_variant(network, mappings, "", family, knobs or {}),))


def make_variants(
    network: IntegerNetwork,
    mappings: Dict[str, Mapping],
    families: Dict[str, KernelFamily],
    knobs: Dict[str, Dict[str, Knobs]] | None = None,
) -> Program:
    """The same for several processors in one program.

    Args:
        network: the integer network.
        mappings: as :func:`make_program`.
        families: vector units by machine; the program takes the first that its processor runs.
        knobs: by machine, then by layer name.

    Raises:
        CodegenError: a layer or mapping that has no C form.
    """
    variants = (
        _make_variant(network, mappings, machine, family, (knobs or {}).get(machine, {}))
        for machine, family in families.items()
    )
    return Program(network_identifier(network.name), network, tuple(variants))


def _make_variant(
    network: IntegerNetwork,
    mappings: Dict[str, Mapping],
    machine: str,
    family: KernelFamily | None,
    knobs: Dict[str, Knobs],
) -> Variant:
    name = network_identifier(network.name) + name_suffix(machine)
    kernels = tuple(
        (
            make_vector_kernel(network, i, name, family, knobs.get(integer.layer.name, NO_KNOBS))
            if family
            else None
        )
        or make_kernel(network, i, name, mappings.get(integer.layer.name))
        for i, integer in enumerate(network.layers)
    )
    memory = plan_memory(_buffers(network, kernels), _alignment(family))
    return Variant(machine, kernels, memory, family)


def _alignment(family: KernelFamily | None) -> int:
    """Of all buffers: a cache line, or the vectors of a processor without caches."""
    if family is None:
        return ALIGNMENT
    return min(family.alignment, _VECTOR_ALIGNMENT)


def emit(
    network: IntegerNetwork,
    mappings: Dict[str, Mapping],
    family: KernelFamily | None = None,
    knobs: Dict[str, Knobs] | None = None,
) -> tuple[CFile, ...]:
    """The C project of ``network``: its files, in a fixed order, always the same bytes.

    Raises:
        CodegenError: a layer or mapping that has no C form.
    """
    return print_program(make_program(network, mappings, family, knobs))


def print_program(program: Program) -> tuple[CFile, ...]:
    """Print a planned program."""
    name, toolchain = program.name, program.family.toolchain if program.family else None
    kernels = [kernel for variant in program.variants for kernel in variant.kernels]
    include = '#include "kernels.h"\n\n'
    parts = (name, program.network, program.variants)
    files = {
        f"{name}.h": print_header(*parts),
        f"{name}.c": print_network(*parts, max(map(_arena_alignment, program.variants))),
        "weights.c": '#include "kernels/kernels.h"\n\n'
        + "\n".join(constant.definition() for constant in program.constants.kept),
        "kernels/kernels.h": _print_kernels_header(program),
        "kernels/runtime.h": (_FOLDER / "runtime.h").read_text(),
        **_vector_headers(program),
        **{f"kernels/{kernel.function}.c": include + kernel.text for kernel in kernels},
        "count.h": (_FOLDER / "count.h").read_text(),
        "count.c": _print_counters(kernels),
        **{
            f"kernels/{kernel.function}_count.h": kernel.count_text
            for kernel in kernels
            if kernel.count_text
        },
        "main.c": print_main(name, program.variants),
        "Makefile": print_makefile(name, toolchain),
        "CMakeLists.txt": print_cmake(name, toolchain),
        **_toolchain_files(program),
    }
    return tuple(CFile(path, text.encode("ascii")) for path, text in files.items())


def _toolchain_files(program: Program) -> dict[str, str]:
    family = program.family
    if family is None or family.toolchain is None:
        return {}
    return {
        TOOLCHAIN_FILE: toolchain_text(family.toolchain),
        **{file.name: file.text for file in family.files},
    }


def _print_counters(kernels: Sequence[Kernel]) -> str:
    """The access counters; those of cut tiles only where some kernel has them."""
    text = (_FOLDER / "count.c.in").read_text()
    if any("qmc_count_cut_step" in kernel.count_text for kernel in kernels):
        text += (_FOLDER / "count_cut.c.in").read_text()
    return text


def _arena_alignment(variant: Variant) -> int:
    return _alignment(variant.family) if variant.family else 0


def _vector_headers(program: Program) -> dict[str, str]:
    families = [variant.family for variant in program.variants if variant.family]
    if not families:
        return {}
    return {
        "kernels/vector.h": (_FOLDER / "vector.h").read_text(),
        **{f"kernels/{header.name}": header.text for one in families for header in one.headers},
    }


def _print_kernels_header(program: Program) -> str:
    lines = ["#ifndef QMC_KERNELS_H", "#define QMC_KERNELS_H", "", '#include "runtime.h"', ""]
    names = program.constants.names
    for kernel in (kernel for variant in program.variants for kernel in variant.kernels):
        for constant in kernel.constants:
            shared = names.get(constant.name)
            lines.append(
                f"#define {constant.name} {shared}" if shared else f"extern {constant.declaration};"
            )
        lines += [f"{kernel.signature};", ""]
    return "\n".join([*lines, "#endif", ""])


def _buffers(network: IntegerNetwork, kernels: tuple[Kernel, ...]) -> list[Buffer]:
    born = {integer.layer.output: i for i, integer in enumerate(network.layers)}
    dies, beyond = dict(born), dict.fromkeys(born, 0)
    for i, kernel in enumerate(kernels):
        for name in kernel.integer.layer.inputs:
            dies[name] = i
            beyond[name] = max(beyond.get(name, 0), kernel.over_read)
    buffers = [
        Buffer(name, tensor_bytes(network, name) + beyond[name], first, dies[name])
        for name, first in born.items()
        if name != network.output
    ]
    buffers += [
        Buffer(scratch_name(i), kernel.scratch_bytes, i, i)
        for i, kernel in enumerate(kernels)
        if kernel.scratch_bytes
    ]
    return buffers
