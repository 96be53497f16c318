"""Names that come from a model, made safe for C.

ONNX names may hold anything: comment ends, quotes, newlines. None of it reaches the emitted files.
"""

from __future__ import annotations

import re

_LONGEST = 40

#: Words a C identifier may not be: C99 keywords that a model's name could hit.
_KEYWORDS = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if "
    "inline int long main register restrict return run short signed sizeof static struct switch "
    "typedef union unsigned void volatile while".split()
)

#: File stems of the emitted folder and of the C library, which a network's files may not shadow.
_TAKEN = frozenset(
    "main weights count run kernels runtime stdint stdio stdlib string time math limits".split()
)


def identifier(name: str) -> str:
    """A C identifier that resembles ``name``; never empty, never a keyword, not unique."""
    word = re.sub(r"[^A-Za-z0-9]+", "_", name)[-_LONGEST:].strip("_")
    if not word or word[0].isdigit() or word in _KEYWORDS:
        word = f"n_{word}" if word else "n"
    return word


def comment_text(name: str) -> str:
    """``name`` as it may stand in a comment, a C string or a Makefile."""
    return re.sub(r"[^A-Za-z0-9_.,:; ()=+-]", "_", name)[:200]


def layer_identifier(index: int, name: str) -> str:
    """Identifier of a layer: unique through its place in the network."""
    return f"l{index:03d}_{identifier(name)}"


def network_identifier(name: str) -> str:
    """Identifier of a network: prefix of all C names and stem of two files."""
    word = identifier(name)
    return f"net_{word}" if word.lower() in _TAKEN else word
