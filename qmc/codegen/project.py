"""``main.c``, ``Makefile`` and ``CMakeLists.txt`` of the emitted folder."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def print_main(name: str) -> str:
    """``main.c``: runs the network on files and measures it."""
    return fill_template("main.c.in", name)


def fill_template(file: str, name: str) -> str:
    """A template of this folder for network ``name``.

    ``@quantize@`` stands for the functions that turn float inputs into packed codes.
    """
    text = (_FOLDER / file).read_text(encoding="ascii")
    quantize = (_FOLDER / "quantize.c.in").read_text(encoding="ascii")
    text = text.replace("@quantize@\n", quantize)
    return text.replace("@name@", name).replace("@NAME@", name.upper())


def print_makefile(name: str) -> str:
    """``Makefile``: builds ``run``; ``make FLAGS=-DQMC_COUNT`` and the like add flags."""
    return f"""# Network {name}. Written by qmc.
CC ?= cc
CFLAGS ?= -O3
FLAGS ?=
WARNINGS = -std=c99 -Wall -Wextra -Werror -pedantic

SOURCES = main.c count.c {name}.c weights.c $(wildcard kernels/*.c)
OBJECTS = $(SOURCES:.c=.o)

run: $(OBJECTS)
\t$(CC) $(CFLAGS) $(FLAGS) $(OBJECTS) -o $@

%.o: %.c {name}.h count.h $(wildcard kernels/*.h)
\t$(CC) $(WARNINGS) $(CFLAGS) $(FLAGS) -c $< -o $@

clean:
\trm -f run $(OBJECTS)

.PHONY: clean
"""


def print_cmake(name: str) -> str:
    """``CMakeLists.txt``: library ``<net>`` and program ``run``."""
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

add_executable(run main.c)
target_link_libraries(run PRIVATE {name}_network)
"""
