"""From an integer network and its mappings to C."""

from qmc.codegen.cfile import CFile
from qmc.codegen.emit import Program, emit, make_program, print_program

__all__ = ["CFile", "Program", "emit", "make_program", "print_program"]
