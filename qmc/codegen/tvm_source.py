"""An emitted program as one C file that TVM can call; it is C99 and C++ alike.

TVM compiles such files with a C++ compiler unless it is told otherwise.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from qmc.codegen.emit import Program, print_program
from qmc.codegen.project import fill_template

_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)
_COUNTERS = re.compile(r'^#ifdef QMC_COUNT\n#include "[^"]+"\n#endif\n', re.MULTILINE)
_SYSTEM = re.compile(r"^#include <[^>]+>\n", re.MULTILINE)
_GUARD = re.compile(r"^#ifndef (\w+_H)\n#define \1\n", re.MULTILINE)
_KINDS = (".c", ".h")
#: Files of the standalone program only.
_ALONE = ("main.c", "count.c")
_HEAD = """\
#if defined(__GNUC__) && !defined(__clang__) && !defined(__OPTIMIZE__)
#pragma GCC optimize("O3") /* TVM's export_library names no level */
#endif
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <tvm/ffi/c_api.h>
"""
_OPEN = """
#ifdef __cplusplus
#define restrict __restrict
extern "C" {
#endif

"""
_CLOSE = """
#ifdef __cplusplus
}
#endif
"""


def print_tvm_source(program: Program, symbol: str) -> str:
    """The program, and the function that runs it on TVM's tensors.

    Args:
        program: what to print.
        symbol: under which TVM looks for that function: a C identifier.
    """
    files = {file.name: file.text for file in print_program(program) if file.name[-2:] in _KINDS}
    sources = sorted(name for name in files if name.endswith(".c") and name not in _ALONE)
    seen: set[str] = set()
    body = "".join(_inlined(name, files, seen) + "\n" for name in sources)
    systems = sorted(set(_SYSTEM.findall(body)) - set(_SYSTEM.findall(_HEAD)))
    wrapper = fill_template("tvm_function.c.in", program.name).replace("@symbol@", symbol)
    return _HEAD + "".join(systems) + _OPEN + _SYSTEM.sub("", body) + wrapper + _CLOSE


def _inlined(name: str, files: dict[str, str], seen: set[str]) -> str:
    """A file with headers in place of their includes, those with a guard once."""
    folder = PurePosixPath(name).parent

    def replace(match: re.Match[str]) -> str:
        header = str(folder / match[1])
        if header in seen:
            return ""
        if _GUARD.search(files[header]):
            seen.add(header)
        return _inlined(header, files, seen)

    return _INCLUDE.sub(replace, _COUNTERS.sub("", files[name]))
