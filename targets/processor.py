"""What the processor of this computer, and Linux on it, let programs use."""

from __future__ import annotations

import ctypes
import platform
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
#: arch_prctl(ARCH_REQ_XCOMP_PERM) of Linux on x86-64: linux/Documentation/arch/x86/xstate.rst.
ARCH_PRCTL, REQUEST_COMPONENT = 158, 0x1023


@cache
def cpu_flags(file: Path = _CPU_INFO) -> frozenset[str]:
    """Instruction sets of this computer as Linux names them; none where it does not tell."""
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    lines = re.findall(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(lines[0].split()) if lines else frozenset()


@cache
def is_granted(component: int) -> bool:
    """Whether Linux lets this process use a state component of XSAVE; asks for it."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    status = ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST_COMPONENT, ctypes.c_long(component))
    return bool(status == 0)


def lacking(flags: Iterable[str], components: Iterable[int]) -> list[str]:
    """Those of the instruction sets and state components that kernels here cannot use."""
    missing = sorted(set(flags) - cpu_flags())
    return missing or [
        f"state component {one} from Linux" for one in components if not is_granted(one)
    ]
