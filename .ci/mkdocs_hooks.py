"""Links that leave docs/ lead to files of the repository, which a site does not hold."""

from __future__ import annotations

import re
from typing import Any

_OUTWARD = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Keep the text of such links, which is the file's name; called by MkDocs for each page."""
    return _OUTWARD.sub(r"\1", markdown)
