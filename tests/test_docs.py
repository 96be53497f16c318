"""The pages keep up with the code: links, commands, flags and files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from qmc.cli import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*/README.md")])
FOLDERS = ("qmc", "qmc/codegen", "qmc/codegen/vector", "qmc/html")
CODE = (*FOLDERS, "passes", "targets", "cost_models")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_command_page_names_every_command() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    missing = [name for name in commands if f"qmc {name}" not in page]
    assert not missing


def test_command_page_names_every_flag_of_compile() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    command = typer.main.get_command(app).commands["compile"]  # type: ignore[attr-defined]
    flags = [flag for parameter in command.params for flag in parameter.opts if flag[:2] == "--"]
    assert len(flags) > 10
    assert not [flag for flag in flags if flag.replace("--verify", "--no-verify") not in page]


def test_architecture_page_names_every_source_file() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = [file for folder in CODE for file in sorted((ROOT / folder).glob("*.*"))]
    kinds = {".py", ".yaml", ".h", ".in", ".html", ".css", ".js"}
    sources = [file for file in files if file.suffix in kinds]
    missing = [file.name for file in sources if file.name not in page and file.stem != "__init__"]
    assert not missing, "give each a line in docs/architecture.md"
