"""How the emitted C of a machine is compiled, and how its programs run on another machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from qmc.errors import BuildError


@dataclass(frozen=True, slots=True)
class Toolchain:
    """Compiler, flags and emulator of a machine that is not this computer.

    Attributes:
        compilers: names; the first that is installed is taken.
        flags: of compiler and linker, before all others.
        optimize: optimization of the emitted ``Makefile``.
        linker: what links, where that is not the compiler; it is given ``link_flags`` alone.
        link_flags: of the linker, after the objects.
        runner: command that runs a program here, before its name; empty where it runs by itself.
        sources: files that are emitted beside ``main.c`` and linked with it.
        packages: Debian packages with all of that.
    """

    compilers: tuple[str, ...]
    flags: tuple[str, ...] = ()
    optimize: str = "-O3"
    linker: str = ""
    link_flags: tuple[str, ...] = ()
    runner: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def compiler(self) -> str:
        """Path of the compiler.

        Raises:
            BuildError: none is installed.
        """
        for name in self.compilers:
            path = shutil.which(name)
            if path:
                return path
        raise BuildError(f"C compiler: {self.missing()}")

    def missing(self) -> str:
        """What is not installed, and what to install; empty where nothing is missing."""
        needed = [self.compilers, (self.linker,), self.runner[:1]]
        lacking = [
            " or ".join(names)
            for names in needed
            if any(names) and not any(map(shutil.which, names))
        ]
        if not lacking:
            return ""
        hint = f" (Debian: {' '.join(self.packages)})" if self.packages else ""
        return f"{', '.join(lacking)} not found; allowed: installed{hint}"
