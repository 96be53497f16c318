"""The pages keep up with the code: links, commands, flags and files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qmc.cli_page import cli_page, commands, tables

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
FOLDERS = ("qmc", "qmc/codegen", "qmc/codegen/vector", "qmc/html", "qmc/tvm")
CODE = (*FOLDERS, "passes", "targets", "cost_models")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_into_pages_lead_to_headings(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text(encoding="utf-8"))
    missing = [
        f"{name}#{anchor}"
        for name, anchor in links
        if anchor not in anchors((page.parent / name) if name else page)
    ]
    assert not missing


def anchors(page: Path) -> set[str]:
    """Names of the headings that GitHub and MkDocs agree on."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading.lower()).strip() for heading in headings]
    github = {re.sub(r"\s", "-", text) for text in plain}
    return github & {re.sub(r"[-\s]+", "-", text) for text in plain}


def test_contributing_page_names_every_command_of_the_makefile() -> None:
    makefile = (ROOT / ".ci" / "Makefile").read_text(encoding="utf-8")
    names = re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE)
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    assert len(names) == 9
    assert not [name for name in names if name != "help" and f".ci/Makefile {name}`" not in page]


def test_command_page_is_current() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_page(page), "python -m qmc.cli_page"


def test_command_page_has_a_table_of_every_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert sorted(tables(page)) == sorted({"commands", *commands()} - {"targets"})
    assert all(f"| `qmc {name}" in page for name in commands())


def test_command_page_has_every_flag_and_default_of_compile() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    flags = [flag for one in commands()["compile"].params for flag in one.opts if flag[:2] == "--"]
    assert len(flags) > 20
    assert not [flag for flag in flags if f"`{flag}" not in page]
    assert "| `--scheme` | `w8a8` |" in page
    assert "| `--optimize` | `edp` |" in page


def test_architecture_page_names_every_source_file() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = [file for folder in CODE for file in sorted((ROOT / folder).glob("*.*"))]
    kinds = {".py", ".yaml", ".h", ".in", ".html", ".css", ".js"}
    sources = [file for file in files if file.suffix in kinds]
    missing = [file.name for file in sources if file.name not in page and file.stem != "__init__"]
    assert not missing, "give each a line in docs/architecture.md"
