"""From an integer network and its mappings to C."""

from qmc.codegen.cfile import CFile
from qmc.codegen.emit import Program, emit, make_program, make_variants, print_program
from qmc.codegen.golden import golden_files

__all__ = [
    "CFile",
    "Program",
    "emit",
    "golden_files",
    "make_program",
    "make_variants",
    "print_program",
]
