"""Matrix products by tiles: real instructions are emitted; emulated, they equal the reference."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qmc.arithmetic import Rounding
from qmc.codegen import emit
from qmc.codegen.build import compile_folder, run_codes, write_files
from qmc.codegen.vector.geometry import Geometry
from qmc.codegen.vector.knobs import Knobs, Outside
from qmc.packing import pack_activation
from qmc.reference import run_network
from qmc.targets import load_target, processor
from tests.codegen.networks import Builder
from tests.codegen.unity import family_of, first_difference

TARGET = "x86-amx"


def small_network() -> Builder:
    """A window, a pointwise and a depthwise layer, with remainders in every direction."""
    net = Builder((1, 20, 6, 7), 8, seed=4)
    at = net.conv(net.input, 70, (3, 3), pads=(1, 1, 1, 1))
    at = net.conv(at, 70, (3, 3), groups=70, pads=(1, 1, 1, 1))
    net.conv(at, 33, bits=(4, 8))
    return net


def test_program_has_the_instructions_or_says_what_is_missing(tmp_path: Path) -> None:
    """The kernels as users compile them, without the emulation."""
    family = load_target(TARGET).kernels
    assert family is not None
    net = small_network()
    network, codes = net.network(), net.codes()
    write_files(emit(network, {}, family), tmp_path)
    program = compile_folder(tmp_path, tmp_path / "run", ("-O2",))
    objdump = shutil.which("objdump")
    assert objdump, "objdump comes with the linker"
    listing = subprocess.run([objdump, "-d", program], capture_output=True, text=True, check=True)
    for instruction in ("ldtilecfg", "tileloadd", "tdpbusd", "tilestored", "tilerelease"):
        assert instruction in listing.stdout
    if family.lacking_here():
        done = subprocess.run(
            [program, "--bench", "1"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 3
        (line,) = done.stderr.splitlines()
        assert "amx_tile, amx_int8, granted by Linux, too" in line
    else:
        got = run_codes(program, codes, 8, 8, network.tensors[network.output].shape)
        assert np.array_equal(got, run_network(network, codes)[network.output])


@pytest.mark.parametrize("outside", list(Outside)[1:])
@pytest.mark.parametrize(
    ("vectors", "pixels"), [(1, 5), (1, 24), (2, 17), (2, 23), (3, 16), (4, 16), (4, 7), (4, 20)]
)
def test_every_shape_of_block_equals_the_reference(
    tmp_path: Path, vectors: int, pixels: int, outside: Outside
) -> None:
    """Upper and lower tiles, tiles of few rows, and blocks that tiles do not fit (4 x 20)."""
    net = Builder((1, 68, 5, 9), 8, seed=vectors)
    at = net.conv(net.input, 16 * vectors + 3, rounding=Rounding.FLOOR)
    at = net.conv(at, 16 * vectors, (2, 3), bits=(5, 8))
    net.conv(at, 80, bits=(8, 4))
    network = net.network()
    knobs = {
        integer.layer.name: Knobs(vectors=vectors, pixels=pixels, outside=outside, prefetch_kib=4)
        for integer in network.layers
    }
    difference = first_difference(network, net.codes(), family_of(TARGET), tmp_path, knobs=knobs)
    assert difference is None


@pytest.mark.parametrize("length", [1, 9, 27, 64, 65, 67, 68, 76, 116, 268, 1028, 4100])
def test_runs_are_cut_into_equal_pieces(length: int) -> None:
    """Never beyond what may be read, and in no piece more than were all but the last full."""
    geometry = Geometry(1, 1, 0, length, 1, 0, 1, 0, length, 0, 0, tile_bytes=64)
    quads = geometry.quads
    assert length <= 4 * quads <= length + 15
    piece = max(p for p in range(1, 17) if quads % p == 0)
    assert quads // piece <= -(-length // 64) * 1.35
    assert geometry.over_reads == (4 * quads > length)


def test_linux_must_grant_what_the_tiles_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    family = load_target(TARGET).kernels
    assert family is not None
    monkeypatch.setattr(processor, "cpu_flags", lambda: frozenset(family.cpu_flags))
    for granted in (True, False):
        monkeypatch.setattr(processor, "is_granted", lambda _, granted=granted: granted)
        kernels = load_target("host").kernels
        assert kernels is not None
        assert (kernels.header == family.header) is granted
    assert family.lacking_here() == ["state component 18 from Linux"]


def test_emulation_stops_where_the_processor_would(tmp_path: Path) -> None:
    """Shapes that do not agree are a fault, not a wrong sum."""
    family = family_of(TARGET)
    if "amx_tile" in family.cpu_flags:
        pytest.skip("nothing is emulated here")
    net = small_network()
    headers = tuple(
        replace(one, text=one.text.replace("? 4 * piece : 64", "? 4 * piece - 1 : 64"))
        for one in family.headers
    )
    write_files(emit(net.network(), {}, replace(family, headers=headers)), tmp_path)
    flags = ("-O1", "-include", str(Path(__file__).with_name("amx_emulation.h")))
    program = compile_folder(tmp_path, tmp_path / "run", flags)
    (tmp_path / "in").write_bytes(pack_activation(net.codes(), 8).tobytes())
    done = subprocess.run([program, "in", "out"], cwd=tmp_path, check=False)
    assert done.returncode < 0
