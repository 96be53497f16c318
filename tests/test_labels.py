"""Class names: beside the model, ImageNet's, or numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from qmc.errors import DataError
from qmc.labels import find_class_names, read_class_names


def test_names_beside_model_are_taken(tmp_path: Path) -> None:
    (tmp_path / "net.labels.txt").write_text("cat\n dog \n", encoding="utf-8")
    assert find_class_names(tmp_path / "net.onnx", 2) == ("cat", "dog")


def test_thousand_outputs_without_file_are_imagenet(tmp_path: Path) -> None:
    names = find_class_names(tmp_path / "net.onnx", 1000)
    # Published positions in the ILSVRC-2012 order: first, two well-known ones, last.
    assert (names[0], names[207], names[985], names[999]) == (
        "tench",
        "golden retriever",
        "daisy",
        "toilet tissue",
    )


def test_other_networks_without_file_get_numbers(tmp_path: Path) -> None:
    assert find_class_names(tmp_path / "net.onnx", 3) == ("class 0", "class 1", "class 2")


def test_wrong_number_of_names_raises(tmp_path: Path) -> None:
    (tmp_path / "net.labels.txt").write_text("cat\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"net\.labels\.txt: found 1 class names; .* 2 outputs"):
        find_class_names(tmp_path / "net.onnx", 2)


@pytest.mark.parametrize(
    ("content", "message"), [(b"cat\n\n", "line 2 is empty"), (b"\xff\n\n", "cannot be read")]
)
def test_bad_file_raises(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_class_names(path, 2)
