"""``--variants``: the machines whose kernels one program holds."""

from __future__ import annotations

from collections.abc import Mapping

from qmc.errors import QmcError
from qmc.options import Options
from qmc.targets import KernelFamily, Target, list_targets, load_target


def load_variants(options: Options, target: Target) -> dict[str, KernelFamily]:
    """Vector units by machine, in the order asked for; empty without ``--variants``.

    Args:
        options: of the compilation.
        target: what the program is compiled for; its caches and its model of costs count.

    Raises:
        TargetError: no such machine.
        QmcError: a machine whose kernels this computer cannot compile, or one named twice.
    """
    found: dict[str, KernelFamily] = {}
    for name in options.variants:
        family = load_target(name).kernels
        if family is None or family.toolchain is not None or name in found:
            why = "named twice" if name in found else "without kernels for this computer"
            raise QmcError(f"--variants: found '{name}', {why}; allowed: {', '.join(_allowed())}")
        found[name] = family
    if found and target.kernels is not None and target.kernels.toolchain is not None:
        raise QmcError(
            f"--variants: found with --target '{target.name}', which another compiler builds for; "
            "allowed: host, or a machine of the variants"
        )
    return found


def _allowed() -> list[str]:
    kernels = {name: load_target(name).kernels for name in list_targets()}
    return [name for name, family in kernels.items() if family and family.toolchain is None]


def runs_some(families: Mapping[str, KernelFamily]) -> bool:
    """Whether this computer runs one of the variants."""
    return any(not family.lacking_here() for family in families.values())
