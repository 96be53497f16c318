"""``main.c``, ``Makefile`` and ``CMakeLists.txt`` of the emitted folder."""

from __future__ import annotations

from pathlib import Path

from qmc.codegen.variants import Variant
from qmc.targets import KernelFamily, Toolchain

_FOLDER = Path(__file__).parent


#: In ``main``, of kernels for a vector unit: one clear message instead of an illegal instruction.
_CHECK = """\
    if (!{name}_runs_here()) {{
        fprintf(stderr, "%s: this processor lacks instructions that the kernels need: {needs}\\n",
                argv[0]);
        return 3;
    }}
"""
#: In ``main``, where there are several variants.
_CHOICE = """\
    if (getenv("QMC_VARIANT") && {name}_select(getenv("QMC_VARIANT")) != 0) {{
        fprintf(stderr, "%s: QMC_VARIANT: found '%s'; allowed, where this processor runs it: %s\\n",
                argv[0], getenv("QMC_VARIANT"), {upper}_VARIANTS);
        return 3;
    }}
    if (argc == 2 && strcmp(argv[1], "--variants") == 0) {{
        return print_variants();
    }}
"""
_PRINT_VARIANTS = """\
/* Those that run here, one a line. */
static int print_variants(void)
{{
    char names[] = {upper}_VARIANTS;
    for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {{
        if ({name}_can_run(name)) {{
            puts(name);
        }}
    }}
    return 0;
}}

"""


def print_main(name: str, variants: tuple[Variant, ...]) -> str:
    """``main.c``: runs the network on files and measures it."""
    families = [variant.family for variant in variants]
    has_choice = len(variants) > 1
    check = ""
    if any(family and family.check for family in families):
        needs = "; or ".join(_needs(family) for family in families if family and family.check)
        check = _CHECK.format(name=name, needs=needs)
    names = {"name": name, "upper": name.upper()}
    check += _CHOICE.format(**names) * has_choice
    text = fill_template("main.c.in", name).replace("@check@\n", check)
    return text.replace("@variants@\n", _PRINT_VARIANTS.format(**names) * has_choice)


def _needs(family: KernelFamily) -> str:
    """What the kernels need, in words."""
    granted = ", granted by Linux, too" * bool(family.state_components)
    return ", ".join(family.cpu_flags) + granted


def fill_template(file: str, name: str) -> str:
    """A template of this folder for network ``name``.

    ``@quantize@`` stands for the functions that turn float inputs into packed codes.
    """
    text = (_FOLDER / file).read_text(encoding="ascii")
    quantize = (_FOLDER / "quantize.c.in").read_text(encoding="ascii")
    text = text.replace("@quantize@\n", quantize)
    return text.replace("@name@", name).replace("@NAME@", name.upper())


def print_makefile(name: str, toolchain: Toolchain | None = None) -> str:
    """``Makefile``: builds ``run``; ``make FLAGS=-DQMC_COUNT`` and the like add flags."""
    chain = toolchain or Toolchain(("cc",))
    linker = chain.linker or "$(CC) $(MACHINE)"
    return f"""# Network {name}. Written by qmc.
{_usage(chain)}ifeq ($(origin CC),default)
CC = {chain.compilers[0]}
endif
CFLAGS ?= {chain.optimize}
FLAGS ?=
MACHINE ={_words(chain.flags)}
LIBRARIES ={_words(chain.link_flags)}
WARNINGS = -std=c99 -Wall -Wextra -Werror -pedantic

SOURCES = main.c count.c {name}.c weights.c{_words(_c_files(chain))} $(wildcard kernels/*.c)
OBJECTS = $(SOURCES:.c=.o)

run: $(OBJECTS)
\t{linker} $(CFLAGS) $(FLAGS) $(OBJECTS) $(LIBRARIES) -o $@

%.o: %.c {name}.h count.h $(wildcard kernels/*.h)
\t$(CC) $(WARNINGS) $(MACHINE) $(CFLAGS) $(FLAGS) -c $< -o $@

clean:
\trm -f run $(OBJECTS)

.PHONY: clean
"""


def _usage(chain: Toolchain) -> str:
    """How to build and run for another machine, as a comment."""
    if not chain.packages and not chain.runner:
        return ""
    lines = [
        "Build: make (or make CC=... MACHINE=...). On a board: your program and all but main.c,",
        "count.c and files named after linux; the network is one function, see the header.",
        f"Run here: {' '.join((*chain.runner, './run'))} input.bin output.bin",
        f"Debian: {' '.join(chain.packages)}",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _words(words: tuple[str, ...]) -> str:
    return "".join(f" {word}" for word in words)


def _c_files(chain: Toolchain) -> tuple[str, ...]:
    return tuple(source for source in chain.sources if source.endswith(".c"))


def print_cmake(name: str, toolchain: Toolchain | None = None) -> str:
    """``CMakeLists.txt``: library ``<net>`` and program ``run``; CMake is told the machine."""
    chain = toolchain or Toolchain(("cc",))
    return f"""# Network {name}. Written by qmc.
cmake_minimum_required(VERSION 3.10)
project({name} C)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)

file(GLOB KERNELS CONFIGURE_DEPENDS kernels/*.c)
add_library({name}_network STATIC {name}.c weights.c count.c ${{KERNELS}})
target_compile_options({name}_network PRIVATE -Wall -Wextra -Werror -pedantic)

add_executable(run main.c{_words(_c_files(chain))})
target_link_libraries(run PRIVATE {name}_network)
"""
