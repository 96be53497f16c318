"""Compile the example network at several widths and print the README's table of results.

Usage::

    python benchmarks/example_table.py [--target simba] [--schemes w8a8 w4a8 w4a4]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent / "examples" / "fashion"
COLUMNS = "widths | top-1 | energy | cycles | weights and constants | peak RAM"


def compile_example(scheme: str, target: str, output: Path) -> dict[str, Any]:
    """The ``network`` object of the report."""
    images = str(EXAMPLE / "images.npz")
    command = [shutil.which("qmc") or "qmc", "compile", str(EXAMPLE / "fashion.onnx"), "--json"]
    command += ["--target", target, "--scheme", scheme, "--calib", images, "--eval", images]
    done = subprocess.run([*command, "-o", str(output)], check=True, stdout=subprocess.PIPE)
    network: dict[str, Any] = json.loads(done.stdout)["network"]
    return network


def row(scheme: str, network: dict[str, Any]) -> str:
    """One line of the table."""
    cells = (
        f"`{scheme}`",
        f"{network['top1']:.1f} %",
        f"{network['energy_uj']:.1f} µJ",
        f"{network['cycles']:,}",
        f"{network['flash_bytes']:,} B",
        f"{network['ram_peak_bytes']:,} B",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description="The README's table of results.")
    parser.add_argument("--target", default="simba")
    parser.add_argument("--schemes", nargs="+", default=["w8a8", "w6a6", "w5a5", "w4a8", "w4a4"])
    arguments = parser.parse_args()
    lines = [f"| {COLUMNS} |", "|---" + "|---:" * COLUMNS.count("|") + "|"]
    with tempfile.TemporaryDirectory() as folder:
        for scheme in arguments.schemes:
            network = compile_example(scheme, arguments.target, Path(folder, scheme))
            lines.append(row(scheme, network))
    print("\n".join(lines))
    print(f"\nFloat: {network['top1_float']:.1f} % of the same {network['images']} images.")


if __name__ == "__main__":
    main()
