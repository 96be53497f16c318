"""Pages from templates: everything inside one file, every string from a model escaped.

Names of layers, files and machines are hostile. Jinja escapes all of them; beyond that the page's
content security policy admits this one script, by its hash, and no connection to anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from qmc.errors import OutputError
from qmc.html import numbers
from qmc.html.build_page import build_values
from qmc.html.front_files import FRONT, load_front, plan_schemes
from qmc.html.front_page import front_values
from qmc.plan import load_report

Json = dict[str, Any]

#: File that ``qmc report`` writes.
PAGE = "report.html"


def write_page(folder: Path) -> Path:
    """Write ``report.html`` into a build, or into the folder of a front.

    Args:
        folder: made by ``qmc compile`` or ``qmc explore``.

    Returns:
        The file.

    Raises:
        DataError: ``folder`` is not one made by qmc.
        OutputError: the file cannot be written.
    """
    if (folder / FRONT).is_file():
        front = load_front(folder)
        text = front_text(front, plan_schemes(folder, front))
    else:
        text = page_text(load_report(folder))
    path = folder / PAGE
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def page_text(report: Json) -> str:
    """The page of a build, from the object of report.json."""
    return render("build.html", build_values(report))


def front_text(front: Json, schemes: Sequence[Json | None]) -> str:
    """The page of a front, from the object of front.json and the schemes of its plans."""
    return render("front.html", front_values(front, schemes))


def render(template: str, values: Json) -> str:
    """A template of this folder with the style and the script inside."""
    folder = resources.files("qmc.html")
    style = (folder / "page.css").read_text(encoding="utf-8")
    script = "\n" + (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template(template)
    return page.render(
        values, style=Markup(style), script=Markup(script[1:]), script_hash=f"sha256-{digest}"
    )


def _environment() -> Environment:
    environment = Environment(loader=PackageLoader("qmc", "html"), autoescape=True)
    for name in numbers.__all__:
        environment.globals[name] = getattr(numbers, name)
    return environment
