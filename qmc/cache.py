"""Files kept between runs: where they lie, and how they are written and read.

Entries are only ever added, each written to a temporary file and renamed, so that other processes
and a kill at any moment see a whole entry or none.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

#: Folder of the cache; set but empty turns it off.
CACHE_VARIABLE = "QMC_CACHE_DIR"
_DIGEST_BYTES = 32


def cache_folder() -> Path | None:
    """``$QMC_CACHE_DIR``, else ``qmc`` in the user's cache folder (XDG); None when turned off."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen is not None:
        return Path(chosen) if chosen else None
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no home folder
        return None
    return root / "qmc"
