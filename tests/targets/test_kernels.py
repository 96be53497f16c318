"""Vector units in machine descriptions: headers, the choice for this computer, and mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmc import compiler
from qmc.codegen.build import find_compiler, run_command
from qmc.errors import BuildError, TargetError
from qmc.targets import list_targets, load_target, processor

UNITS = ("x86-avx512vnni", "x86-avx2")

VARIANT = """
schema_version: 1
extends: simba
name: mine
description: a machine with a vector unit
"""


@pytest.mark.parametrize("name", UNITS)
def test_unit_brings_every_header_it_includes(name: str) -> None:
    family = load_target(name).kernels
    assert family is not None
    texts = {header.name: header.text for header in family.headers}
    assert family.header in texts
    for wanted in ("block_matrix.h", "block_depthwise.h", "block_add.h"):
        assert wanted in texts


ROWS = [
    name
    for name in list_targets()
    for family in [load_target(name).kernels]
    if family is not None and family.panels == "rows"
]


@pytest.mark.parametrize("name", ROWS)
def test_lanes_of_rows_are_those_of_the_header(name: str, tmp_path: Path) -> None:
    """The preprocessor tells what the header's blocks take a vector for."""
    family = load_target(name).kernels
    assert family is not None
    for header in family.headers:
        (tmp_path / header.name).write_text(header.text, encoding="ascii")
    codegen = Path(compiler.__file__).parent / "codegen"
    (tmp_path / "lanes.c").write_text(f'#include "{family.header}"\n=QMC_LANES=\n')
    (tmp_path / "arm_acle.h").touch()  # of another machine's compiler
    command = [find_compiler(), "-E", "-P", f"-I{tmp_path}", f"-I{codegen}", "lanes.c"]
    text = run_command(command, tmp_path)
    assert f"={family.lanes}=" in text.replace(" ", "")


@pytest.mark.parametrize("name", UNITS)
def test_blocks_fit_the_registers(name: str) -> None:
    family = load_target(name).kernels
    assert family is not None
    registers = 32 if family.lanes == 16 else 16
    for vectors, pixels in enumerate(family.pixels, start=1):
        assert pixels * vectors + 2 <= registers


@pytest.mark.parametrize(
    ("flags", "header"),
    [
        ({"avx2", "fma"}, "x86_avx2.h"),
        (
            {"avx2", "fma", "avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_vnni"},
            "x86_avx512vnni.h",
        ),
        ({"sse2"}, None),
    ],
)
def test_host_takes_the_first_unit_that_runs_here(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], header: str | None
) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset(flags))
    target = load_target("host")
    assert (target.kernels.header if target.kernels else None) == header


def test_choice_of_the_unit_is_part_of_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = set()
    for flags in (set(), {"avx2", "fma"}):
        monkeypatch.setattr(processor, "cpu_flags", lambda flags=flags: frozenset(flags))
        hashes.add(load_target("host").sha256)
    assert len(hashes) == 2


def test_flags_are_read_as_linux_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor : 0\nflags\t\t: fpu avx2 fma\nbugs : none\n", encoding="ascii")
    assert processor.cpu_flags(file) == {"fpu", "avx2", "fma"}
    assert processor.cpu_flags(tmp_path / "none") == frozenset()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kernels: {header: none.h, lanes: 8, pixels: [2], depthwise_bytes: [16], "
            "depthwise_pixels: 1}\n",
            r"kernels\.header: found 'none\.h'",
        ),
        ("kernels_like: [simba]\n", "kernels_like: found 'simba'"),
        ("kernels_like: here\n", "kernels_like: found 'here'"),
    ],
)
def test_mistake_is_told(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(VARIANT + text, encoding="utf-8")
    with pytest.raises(TargetError, match=message):
        load_target(file)


def test_c_for_another_processor_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset({"avx2", "fma"}))
    compiler.check_runs_here(load_target("x86-avx2"))
    with pytest.raises(BuildError, match=r"avx512_vnni.*--no-verify"):
        compiler.check_runs_here(load_target("x86-avx512vnni"))
