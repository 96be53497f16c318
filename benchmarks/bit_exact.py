"""Check the emitted C of whole networks against the reference, every layer, on real images.

Usage::

    python benchmarks/bit_exact.py [--images 10] [--scheme w8a8 ...] [--network NAME ...]

Each row is one ``qmc compile --golden N``: the C is built with warnings as errors and must give the
NumPy reference's bytes for every layer and image. Exit 1 when one does not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from accuracy import CASES

HERE = Path(__file__).resolve().parent


def check(data: Path, name: str, scheme: str, target: str, images: int) -> tuple[bool, str]:
    """Compile and verify one network: whether it is exact, and what was said."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        build = f"{folder}/build"
        command = [sys.executable, "-m", "qmc.cli", "compile", f"{data}/models/{case.model}.onnx"]
        command += ["--calib", f"{data}/datasets/{case.calib}", "--limit", str(max(images, 32))]
        command += ["--target", target, "--scheme", scheme, "--golden", str(images)]
        done = subprocess.run(
            [*command, "--no-verify", "-o", build], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return False, done.stderr.strip()
        verify = [sys.executable, "-m", "qmc.cli", "verify", build]
        done = subprocess.run(verify, capture_output=True, text=True, check=False)
        return done.returncode == 0, " ".join(done.stdout.split())


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--shared", type=Path, default=HERE.parent.parent / "shared")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--scheme", nargs="+", default=["w8a8", "w4a8"])
    parser.add_argument("--target", default="simba")
    options = parser.parse_args()
    exact = True
    for name in options.network:
        for scheme in options.scheme:
            started = time.monotonic()
            case = (options.shared / "data", name, scheme, options.target, options.images)
            found, said = check(*case)
            exact &= found
            print(f"{name:<20} {scheme}  {said}  ({time.monotonic() - started:.0f} s)", flush=True)
    sys.exit(0 if exact else 1)


if __name__ == "__main__":
    main()
