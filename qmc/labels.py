"""Names of the classes of a network, for people to read."""

from __future__ import annotations

from pathlib import Path

from qmc.errors import DataError

#: File of class names beside a model: ``net.onnx`` has ``net.labels.txt``.
LABELS_SUFFIX = ".labels.txt"

#: Source: third_party/imagenet_classes/ORIGIN.md.
IMAGENET_NAMES = Path(__file__).parent / "third_party" / "imagenet_classes" / "names.txt"
IMAGENET_CLASSES = 1000


def find_class_names(model: Path, classes: int) -> tuple[str, ...]:
    """Names of a model's outputs, the best there are.

    They come from ``<model>.labels.txt`` beside the model, else, for 1,000 outputs, from the
    classes of ImageNet, else they are ``class 0``, ``class 1``, and so on.

    Args:
        model: path of the ONNX file.
        classes: number of outputs of the network.

    Raises:
        DataError: the file beside the model is unreadable or has another number of names.
    """
    beside = model.with_suffix(LABELS_SUFFIX)
    if beside.is_file():
        return read_class_names(beside, classes)
    if classes == IMAGENET_CLASSES:
        return read_class_names(IMAGENET_NAMES, classes)
    return tuple(f"class {index}" for index in range(classes))


def read_class_names(path: Path, classes: int) -> tuple[str, ...]:
    """Read one name per line, label 0 first.

    Raises:
        DataError: the file is unreadable or has not ``classes`` lines, each with a name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    names = tuple(line.strip() for line in lines)
    if len(names) != classes:
        raise DataError(
            f"{path}: found {len(names)} class names; the network has {classes} outputs"
        )
    if not all(names):
        raise DataError(f"{path}: line {names.index('') + 1} is empty; allowed: one name per line")
    return names
