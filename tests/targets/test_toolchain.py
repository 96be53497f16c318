"""Toolchains of machines that are not this computer: missing tools are told, nothing is run."""

from __future__ import annotations

from pathlib import Path

import pytest

import qmc
from qmc.errors import BuildError, TargetError
from qmc.targets import Toolchain, load_target, toolchain
from tests.small_build import small_images, small_model

CROSS = ("armv8-dotprod", "armv8-neon", "cortex-m4", "cortex-m0", "riscv64-v", "riscv32")


def test_missing_tools_are_named_with_what_to_install() -> None:
    chain = Toolchain(("no-such-gcc",), runner=("no-such-qemu", "-x"), packages=("gcc-no-such",))
    message = "no-such-gcc, no-such-qemu not found; allowed: installed (Debian: gcc-no-such)"
    assert chain.missing() == message
    with pytest.raises(BuildError, match="no-such-gcc"):
        chain.compiler()


def test_one_of_several_compilers_is_enough() -> None:
    assert Toolchain(("no-such-gcc", "sh")).missing() == ""
    assert Toolchain(("no-such-gcc", "sh")).compiler().endswith("/sh")


@pytest.mark.parametrize("name", CROSS)
def test_machine_names_compiler_emulator_and_packages(name: str) -> None:
    family = load_target(name).kernels
    assert family is not None
    chain = family.toolchain
    assert chain is not None
    assert chain.compilers
    assert chain.runner[0].startswith("qemu-")
    assert "qemu-user" in chain.packages
    assert [file.name for file in family.files] == list(chain.sources)


def test_word_that_a_shell_expands_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = "extends: riscv32\nname: mine\nkernels: {toolchain: {runner: [qemu, $HOME]}}\n"
    file.write_text(f"schema_version: 1\n{text}", encoding="utf-8")
    with pytest.raises(TargetError, match=r"kernels\.toolchain\.runner"):
        load_target(file)


def test_source_that_does_not_exist_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    text = "extends: riscv32\nname: mine\nkernels: {toolchain: {sources: [none.c]}}\n"
    file.write_text(f"schema_version: 1\n{text}", encoding="utf-8")
    with pytest.raises(TargetError, match=r"kernels\.toolchain\.sources: found 'none\.c'"):
        load_target(file)


def test_build_without_tools_is_written_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    model, images = small_model(tmp_path), small_images(tmp_path)
    options = {"calib": images, "budget_seconds": 0.05, "jobs": 1}
    plan = qmc.compile(model, "cortex-m4", tmp_path / "build", **options)
    assert plan.report["network"]["verified"] is None
    note = "not verified: arm-none-eabi-gcc, qemu-arm not found; allowed: installed (Debian: "
    assert any(one.startswith(note) for one in plan.report["notes"])
    makefile = (tmp_path / "build" / "Makefile").read_text(encoding="ascii")
    assert "CC = arm-none-eabi-gcc" in makefile
    assert "qemu-arm -cpu max ./run" in makefile
    with pytest.raises(BuildError, match=r"--eval: --target 'cortex-m4': arm-none-eabi-gcc"):
        qmc.compile(model, "cortex-m4", tmp_path / "other", eval=images, **options)
