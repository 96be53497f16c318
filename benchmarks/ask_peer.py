"""Run a script by another tool's interpreter: JSON in, JSON out."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def ask_peer(python: Path, script: str, request: Json) -> list[Json] | str:
    """What ``script``, which lies beside this file, answers; or one line on why it cannot.

    It runs in a folder of its own, as some tools leave files where they run.
    """
    program = Path(shutil.which(python) or python).absolute()
    command = [str(program), str(Path(__file__).resolve().with_name(script))]
    text = json.dumps(request)
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, check=False, cwd=folder
            )
        except OSError as error:
            return f"{python}: {error.strerror}"
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        return f"{python}: {said.splitlines()[-1]}"
    answer: list[Json] = json.loads(done.stdout)
    return answer
