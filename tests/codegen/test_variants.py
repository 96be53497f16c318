"""Several variants in one program: equal bytes from each, and the right one chosen."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import qmc
from qmc.codegen import make_program, make_variants, print_program
from qmc.codegen.build import (
    compile_folder,
    find_compiler,
    run_command,
    run_program,
    write_files,
)
from qmc.errors import QmcError
from qmc.integer import IntegerNetwork
from qmc.packing import pack_activation
from qmc.plan import load_plan
from qmc.reference import run_network
from qmc.targets import KernelFamily
from tests.codegen.networks import Builder, every_op
from tests.codegen.unity import emulation_flags, family_of
from tests.small_build import small_images, small_model

MACHINES = ("x86-amx", "x86-avx512vnni", "x86-avx2", "c99")


def families() -> dict[str, KernelFamily]:
    return {name: family_of(name) for name in MACHINES}


def build(network: IntegerNetwork, found: dict[str, KernelFamily], folder: Path) -> Path:
    write_files(print_program(make_variants(network, {}, found)), folder)
    flags = {flag: None for family in found.values() for flag in emulation_flags(family)}
    return compile_folder(folder, folder / "run", ("-O1", *flags))


def test_every_variant_gives_the_bytes_of_the_reference(tmp_path: Path) -> None:
    net = every_op(7)
    network, codes = net.network(), net.codes()
    program = build(network, families(), tmp_path)
    data = pack_activation(codes, network.quantization[network.input].bits).tobytes()
    expected = run_network(network, codes)[network.output]
    wanted = pack_activation(expected, network.quantization[network.output].bits).tobytes()
    for name in MACHINES:
        assert run_program(program, data, tmp_path, environment={"QMC_VARIANT": name}) == wanted
    listed = subprocess.run([program, "--variants"], capture_output=True, text=True, check=True)
    assert tuple(listed.stdout.split()) == MACHINES


def test_each_variant_runs_its_own_kernels(tmp_path: Path) -> None:
    """A mistake in one variant shows in its bytes alone."""
    net = Builder((1, 20, 3, 4), 8, seed=1)
    net.conv(net.input, 20)
    network = net.network()
    found = families()
    write_files(print_program(make_variants(network, {}, found)), tmp_path)
    (kernel,) = (tmp_path / "kernels").glob("*x86_avx2_*.c")
    assert " 1, 254);" in kernel.read_text()
    kernel.write_text(kernel.read_text().replace(" 1, 254);", " 1, 1);"))
    flags = {flag: None for family in found.values() for flag in emulation_flags(family)}
    program = compile_folder(tmp_path, tmp_path / "run", ("-O1", *flags))
    data = pack_activation(net.codes(), 8).tobytes()
    got = {
        name: run_program(program, data, tmp_path, environment={"QMC_VARIANT": name})
        for name in MACHINES
    }
    assert max(got["x86-avx2"]) == 1 < max(got["c99"])
    assert got["c99"] == got["x86-avx512vnni"] == got["x86-amx"]


def test_variant_that_does_not_run_is_passed_over_or_told_in_one_line(tmp_path: Path) -> None:
    net = Builder((1, 5, 3, 4), 8)
    net.conv(net.input, 6)
    names = ("x86-avx2", "c99")
    found = {name: family_of(name) for name in names}
    found["x86-avx2"] = replace(found["x86-avx2"], check="0")
    program = build(net.network(), found, tmp_path)
    listed = subprocess.run([program, "--variants"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == ["c99"]
    for wanted in ("x86-avx2", "sse2", ""):
        done = subprocess.run(
            [program, "--bench", "1"],
            capture_output=True,
            text=True,
            check=False,
            env={"QMC_VARIANT": wanted},
        )
        assert done.returncode == 3
        (line,) = done.stderr.splitlines()
        assert f"QMC_VARIANT: found '{wanted}'" in line
        assert " ".join(names) in line
    library = build_library(net.network().name, tmp_path)
    chosen = getattr(library, f"{net.network().name}_variant")
    chosen.restype = ctypes.c_char_p
    assert chosen() == b"c99"


def build_library(name: str, folder: Path) -> ctypes.CDLL:
    """The network without its ``main``."""
    sources = [f"{name}.c", "weights.c", *map(str, (folder / "kernels").glob("*.c"))]
    command = [find_compiler(), "-std=c99", "-O1", "-shared", "-fPIC", *sources]
    run_command([*command, "-o", "net.so"], folder)
    return ctypes.CDLL(str(folder / "net.so"))


def test_equal_constants_are_stored_once() -> None:
    net = every_op(7)
    network, found = net.network(), families()
    program = make_variants(network, {}, found)
    alone = {name: make_program(network, {}, family) for name, family in found.items()}
    assert program.ram_peak_bytes == max(one.ram_peak_bytes for one in alone.values())
    assert program.flash_bytes < sum(one.flash_bytes for one in alone.values())
    both = make_variants(network, {}, {name: found[name] for name in MACHINES[:2]})
    assert both.weight_bytes < 1.5 * alone["x86-avx512vnni"].weight_bytes
    values = {c.name: c.values for variant in program.variants for c in variant.constants}
    for name, stands in program.constants.names.items():
        assert np.array_equal(values[name], values[stands])
        assert values[name].dtype == values[stands].dtype


def test_compile_verifies_what_runs_here_and_reports_every_variant(tmp_path: Path) -> None:
    family_of("x86-avx2")
    images = small_images(tmp_path)
    names = ("x86-avx2", "c99")
    plan = qmc.compile(
        small_model(tmp_path), "host", tmp_path / "build", calib=images, jobs=1, variants=names
    )
    network = plan.report["network"]
    assert tuple(network["verified"]["variants"]) == names
    assert [one["name"] for one in network["variants"]] == list(names)
    assert network["variants"][0]["shared_bytes"] == 0
    total = sum(one["flash_bytes"] - one["shared_bytes"] for one in network["variants"])
    assert network["flash_bytes"] == total
    assert load_plan(tmp_path / "build")["options"]["variants"] == list(names)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x86-avx2", "simba"), "found 'simba', without kernels for this computer"),
        (("cortex-m4",), "found 'cortex-m4', without kernels for this computer"),
        (("c99", "c99"), "found 'c99', named twice"),
        (("x86-avx",), "nearest: x86-avx2"),
    ],
)
def test_wrong_variants_are_told(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(QmcError, match=message):
        qmc.compile(small_model(tmp_path), "host", tmp_path / "build", variants=names)
