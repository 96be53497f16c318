"""Real networks, real images: the emitted C equals the reference on every layer."""

from __future__ import annotations

from pathlib import Path

import pytest

import qmc
from qmc.verify import verify_build

IMAGES = 10


@pytest.mark.parametrize(
    ("model", "calib", "scheme", "target"),
    [
        ("resnet8_cifar10jpg", "cifar10jpg-train-calib.npz", "w8a8", "simba"),
        ("resnet8_cifar10jpg", "cifar10jpg-train-calib.npz", "w3a5", "eyeriss"),
        ("mobilenetv3_small_035_textcls", "textlines-dev.npz", "w8a8", "eyeriss"),
    ],
)
def test_emitted_network_equals_the_reference_on_every_layer(
    shared: Path, tmp_path: Path, model: str, calib: str, scheme: str, target: str
) -> None:
    plan = qmc.compile(
        shared / "data" / "models" / f"{model}.onnx",
        target,
        tmp_path / "build",
        scheme=scheme,
        calib=shared / "data" / "datasets" / calib,
        limit=32,
        golden=IMAGES,
        verify=False,
        jobs=1,
    )
    result = verify_build(tmp_path / "build")
    assert result.ok, result.first_difference
    assert result.cases == IMAGES
    assert result.layers == len(plan.integer.layers)
    assert result.bytes_compared > 100_000
