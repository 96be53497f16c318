"""Names from models never change the C around them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.codegen import emit, golden_files
from qmc.codegen.build import compile_folder, write_files
from qmc.codegen.names import comment_text, identifier, layer_identifier, network_identifier
from qmc.verify import verify_build
from tests.codegen.networks import Builder

HOSTILE = (
    "*/ int main(void) { return 1; } /*",
    'a"); system("true',
    "line\nbreak\r\n#error no",
    "back\\\nslash ??/ trigraph",
    "$(shell touch x)`y`",
    "int",
    "Ünïcødé/名前",
    "",
)


@given(st.text())
def test_identifier_any_text_is_a_c_identifier(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", identifier(name))
    assert re.fullmatch(r"[A-Za-z0-9_.,:; ()=+-]*", comment_text(name))


def test_layer_identifier_equal_names_differ() -> None:
    assert layer_identifier(1, "a/b") != layer_identifier(2, "a_b")


@pytest.mark.parametrize("name", ["main", "weights", "stdio", "Count"])
def test_network_identifier_never_shadows_a_file(name: str) -> None:
    assert network_identifier(name).lower() != name.lower()


def test_emit_hostile_names_builds_and_verifies(tmp_path: Path) -> None:
    net = Builder((1, 3, 4, 5), 8, name='evil"\n*/')
    source = "input"
    for name in HOSTILE:
        source = net.conv(source, 3, name=name)
    network = net.network()
    write_files(emit(network, {}) + golden_files(network, net.codes()), tmp_path)
    assert verify_build(tmp_path).ok
    for path in tmp_path.glob("kernels/*_l0*.[ch]"):
        code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        assert not re.search(r"system *\(|return 1|#error|\?\?/", code)


@pytest.mark.parametrize("name", ["features", "endian", "main", "kernels"])
def test_emit_network_named_like_a_system_header_builds(tmp_path: Path, name: str) -> None:
    net = Builder((1, 3, 4, 5), 8, name=name)
    net.conv("input", 2)
    write_files(emit(net.network(), {}), tmp_path)
    compile_folder(tmp_path, tmp_path / "run", ("-O0",))


def test_emit_every_path_stays_in_the_folder() -> None:
    net = Builder((1, 3, 4, 5), 8, name="../../etc/passwd")
    net.conv("input", 3, name="../../../x")
    names = [file.name for file in emit(net.network(), {})]
    assert len(set(names)) == len(names)
    assert not any(".." in name or name.startswith("/") for name in names)
