"""Files that qmc wrote and somebody may have edited."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from qmc.errors import DataError

#: What working with data does when a part is missing or of another kind.
_SIGNS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


@contextlib.contextmanager
def as_written(*paths: Path, signs: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Work with data of ``paths`` as if they were whole; tell in one line when they are not.

    For data whose form is too large to be checked before: reports, fronts, mappings of plans.

    Args:
        paths: the files or folders, for the message.
        signs: further exceptions that tell of missing parts.

    Raises:
        DataError: a part is missing, or is not what it was when qmc wrote it.
    """
    try:
        yield
    except _SIGNS + signs as error:
        where = " or ".join(str(path) for path in paths)
        raise DataError(f"{where}: not as qmc wrote it: {error!r:.120}") from error
