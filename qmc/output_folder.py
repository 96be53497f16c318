"""Output folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from qmc.errors import OutputError

#: A folder that holds this file was made by qmc and may be replaced.
MARK = "plan.yaml"


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``folder`` that takes its name when the block succeeds.

    An earlier build of qmc at ``folder`` is replaced; any other folder with content is refused.
    When the block raises, ``folder`` is as it was before and nothing else is left behind.

    Raises:
        OutputError: the place is not writable, or taken by something that is not ours.
    """
    folder = Path(os.path.abspath(folder))
    check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        yield work
        _publish(work, folder)
    except OSError as error:
        if error.filename and str(error.filename).startswith(str(work)):
            raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Check early that ``folder`` is free, empty or an earlier build.

    Raises:
        OutputError: it is a file, or a folder with other content.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: is a file; allowed: a new folder or an earlier qmc build")
    if any(folder.iterdir()) and not (folder / MARK).is_file():
        raise OutputError(
            f"{folder}: holds files not made by qmc; allowed: a new folder or an earlier build"
        )


def _publish(work: Path, folder: Path) -> None:
    work.chmod(0o777 & ~_umask())
    if not folder.exists():
        work.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / "old")
    try:
        work.rename(folder)
    except OSError:
        (old / "old").rename(folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
