"""One network for several processors: variants in one program, which takes the first that runs.

Every variant is a program of its own, made for one vector unit. They share the arena, whatever
constants are equal byte for byte, and the functions by which they are called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qmc.codegen.arena import MemoryPlan
from qmc.codegen.constants import Constant
from qmc.codegen.kernel import Kernel
from qmc.codegen.names import identifier
from qmc.targets import KernelFamily


def name_suffix(machine: str) -> str:
    """What a machine adds to C names."""
    return f"_{identifier(machine)}" if machine else ""


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A network's functions for one processor.

    Attributes:
        machine: whose unit it is; empty where there are no other variants.
        kernels: one per layer, in execution order.
        memory: arena offsets by tensor name, and by "scratch <index>" for a kernel's scratch.
        family: the vector unit; None where all kernels are plain C.
    """

    machine: str
    kernels: tuple[Kernel, ...]
    memory: MemoryPlan
    family: KernelFamily | None = None

    @property
    def suffix(self) -> str:
        """Of its C names."""
        return name_suffix(self.machine)

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Of all its kernels."""
        return tuple(constant for kernel in self.kernels for constant in kernel.constants)


@dataclass(frozen=True, slots=True, eq=False)
class SharedConstants:
    """Constants of several variants, equal ones once.

    Attributes:
        kept: those that are defined.
        names: of the others, with the name of the one that stands for them.
    """

    kept: tuple[Constant, ...]
    names: dict[str, str]


def share_constants(variants: Iterable[Variant]) -> SharedConstants:
    """Find constants of later variants that earlier ones have, too."""
    known: dict[tuple[str, int, bytes], str] = {}
    kept: list[Constant] = []
    names: dict[str, str] = {}
    for variant in variants:
        own: dict[tuple[str, int, bytes], str] = {}
        for constant in variant.constants:
            key = (constant.kind, constant.alignment, constant.values.tobytes())
            if key in known:
                names[constant.name] = known[key]
            else:
                kept.append(constant)
                own.setdefault(key, constant.name)
        known = own | known
    return SharedConstants(tuple(kept), names)
