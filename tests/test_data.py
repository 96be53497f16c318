"""Data sets: layouts that are read, and one clear line for each that cannot be."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qmc.data import Use, load_dataset
from qmc.errors import DataError
from qmc.preprocess import Color, Preprocess, load_preprocess

SHAPE = (1, 3, 5, 7)


def pixels(seed: int, height: int = 5, width: int = 7) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def write_image(path: Path, seed: int, height: int = 5, width: int = 7) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, height, width)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three labelled images, two in images/, with parts."""
    write_image(tmp_path / "b.png", 0)
    write_image(tmp_path / "images" / "a.png", 1)
    write_image(tmp_path / "images" / "c.png", 2)
    rows = ["file,label,part", "b.png,4,eval", "a.png,0,calib", "c.png,2,eval"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_folder_keeps_the_order_of_the_table_and_selects_the_part(folder: Path) -> None:
    data = load_dataset(folder, Use.EVAL, SHAPE)
    assert data.labels is not None
    assert data.labels.tolist() == [4, 2]
    batches = list(data.batches(1))
    assert [batch.shape for batch in batches] == [SHAPE, SHAPE]
    np.testing.assert_array_equal(batches[1][0], pixels(2).transpose(2, 0, 1))
    calib = load_dataset(folder, Use.CALIB, SHAPE)
    assert (len(calib), calib.labels) == (1, None)


def test_limit_takes_the_first_rows(folder: Path) -> None:
    data = load_dataset(folder, Use.EVAL, SHAPE, limit=1)
    assert data.labels is not None
    assert data.labels.tolist() == [4]


def test_plain_folder_is_sorted_by_name(tmp_path: Path) -> None:
    for seed, name in enumerate(("z.png", "sub/y.png", "a.png")):
        write_image(tmp_path / name, seed)
    (tmp_path / "notes.txt").write_text("no image")
    data = load_dataset(tmp_path, Use.CALIB, SHAPE)
    expected = np.stack([pixels(seed).transpose(2, 0, 1) for seed in (2, 1, 0)])
    np.testing.assert_array_equal(data.inputs(range(3)), expected)


def test_npz_of_pixels_with_part(tmp_path: Path) -> None:
    images = np.stack([pixels(seed) for seed in range(3)])
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=images, labels=[5, 6, 7], part=["eval", "calib", "eval"])
    data = load_dataset(path, Use.EVAL, SHAPE, Preprocess(mean=(10.0,), std=(2.0, 4.0, 8.0)))
    assert data.labels is not None
    assert data.labels.tolist() == [5, 7]
    expected = (images[2].astype(np.float32) - 10) / np.array([2, 4, 8], np.float32)
    np.testing.assert_array_equal(data.inputs([1])[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(2, 5, 7), (2, 5, 7, 1)])
def test_npz_of_grey_images_becomes_three_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = np.arange(70, dtype=np.uint8).reshape(shape)
    np.savez(tmp_path / "grey.npz", images=grey)
    data = load_dataset(tmp_path / "grey.npz", Use.CALIB, SHAPE, Preprocess(Color.GRAY3))
    np.testing.assert_array_equal(data.inputs([1])[0], np.stack([grey[1].reshape(5, 7)] * 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_npy_of_floats_is_taken_as_it_is(tmp_path: Path, dtype: Any) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    data = load_dataset(tmp_path / "x.npy", Use.CALIB, SHAPE)
    np.testing.assert_array_equal(data.inputs([0, 1]), values.astype(np.float32))


def test_resize_then_central_crop_then_bgr(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 3, 9, 12)
    preprocess = Preprocess(Color.BGR, resize=(8, 10), crop=(5, 7))
    resized = np.asarray(
        Image.fromarray(pixels(3, 9, 12)).resize((10, 8), Image.Resampling.BICUBIC)
    )
    expected = resized[1:6, 1:8, ::-1].transpose(2, 0, 1)
    np.testing.assert_array_equal(
        load_dataset(tmp_path, Use.CALIB, SHAPE, preprocess).inputs([0])[0], expected
    )


def refuse(path: Path, use: Use, match: str, **options: Any) -> None:
    """Loading, or reading the first input, raises one line that matches."""
    with pytest.raises(DataError, match=match) as caught:
        load_dataset(path, use, SHAPE, **options).inputs([0])
    assert "\n" not in str(caught.value)


def test_missing_path_raises(tmp_path: Path) -> None:
    refuse(tmp_path / "none", Use.CALIB, "no such file or folder")


def test_folder_without_images_raises(tmp_path: Path) -> None:
    refuse(tmp_path, Use.CALIB, "no image found")


def test_folder_without_labels_raises_for_evaluation(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 0)
    refuse(tmp_path, Use.EVAL, r"no labels\.csv")


@pytest.mark.parametrize("label", ["", "cat", "-1", "1.5", "99999999999999999999"])
def test_label_that_is_no_class_number_raises(folder: Path, label: str) -> None:
    (folder / "labels.csv").write_text(f"file,label\nb.png,{label}\n")
    refuse(folder, Use.EVAL, r"file 'b\.png': label missing or not a class number")


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("", "no rows, or no column 'file'"),
        ("name,label\nb.png,1\n", "no column 'file'"),
        ("file,label\nx.png,1\n", r"'x\.png' is neither in the folder"),
        ("file,label\n../../x.png,1\n", "outside the folder"),
        ("file,label,part\nb.png,1,train\n", "no row has part 'eval'; found train"),
        ("file,label\n\x00,1\n", "outside the folder"),
    ],
)
def test_wrong_table_raises(folder: Path, table: str, match: str) -> None:
    (folder / "labels.csv").write_text(table)
    refuse(folder, Use.EVAL, match)


def test_image_of_wrong_shape_raises(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 0, 6, 7)
    refuse(tmp_path, Use.CALIB, r"a\.png: wrong shape: preprocessing gives 3x6x7 .* takes 3x5x7")


def test_image_smaller_than_the_crop_raises(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 0, 4, 7)
    refuse(tmp_path, Use.CALIB, "smaller than the crop 5x7", preprocess=Preprocess(crop=(5, 7)))


def test_file_that_is_no_image_raises(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not an image")
    refuse(tmp_path, Use.CALIB, r"a\.jpg: cannot be read as an image")


def test_truncated_image_raises(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 0)
    path.write_bytes(path.read_bytes()[:60])
    refuse(tmp_path, Use.CALIB, r"a\.png: cannot be read as an image")


def test_huge_image_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    refuse(tmp_path, Use.CALIB, r"a\.png")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"labels": np.zeros(2, int)}, "no array 'images'"),
        ({"images": np.zeros((0, 5, 7, 3), np.uint8), "labels": np.zeros(0, int)}, "no image"),
        ({"images": np.zeros((2, 5, 7, 3), np.uint8)}, "no array 'labels'"),
        ({"images": np.zeros((2, 5, 7, 3), np.uint8), "labels": np.zeros(3, int)}, "'labels' has"),
        ({"images": np.zeros((2, 5, 7, 3), np.uint8), "labels": [0.5, 1]}, "class numbers"),
        ({"images": np.zeros((2, 5, 7, 3), np.uint8), "labels": [-1, 1]}, "class numbers"),
        ({"images": np.zeros((2, 5, 7, 2), np.uint8), "labels": [0, 1]}, "uint8 images have shape"),
        ({"images": np.zeros((2, 6, 7, 3), np.uint8), "labels": [0, 1]}, "wrong shape"),
        ({"images": np.zeros((2, 3, 7, 5), np.float32), "labels": [0, 1]}, "wrong shape or type"),
        ({"images": np.zeros((2, 3, 5, 7), np.int32), "labels": [0, 1]}, "wrong shape or type"),
        ({"images": np.array(5), "labels": [0, 1]}, "at least two dimensions"),
    ],
)
def test_wrong_npz_raises(tmp_path: Path, arrays: dict[str, Any], match: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    refuse(tmp_path / "set.npz", Use.EVAL, match)


def test_floats_that_are_not_finite_raise(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((1, 3, 5, 7), np.nan, np.float32))
    refuse(tmp_path / "x.npy", Use.CALIB, "not finite")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    objects = np.array([{"a": 1}, {"b": 2}], dtype=object)
    np.savez(tmp_path / "set.npz", images=objects)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    refuse(tmp_path / "set.npz", Use.CALIB, "Python objects are not allowed")
    refuse(tmp_path / "x.npy", Use.CALIB, r"cannot be read as \.npy")


def test_zip_bomb_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (100 << 20, 1)}
    )
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            file.write(header.getvalue())
            for _ in range(100):
                file.write(bytes(1 << 20))
    refuse(tmp_path / "b.npz", Use.CALIB, "unpacks to .* refused")


def test_array_larger_than_its_member_is_refused(tmp_path: Path) -> None:
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 5, 7, 3)}
    )
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", member.getvalue())
    refuse(tmp_path / "b.npz", Use.CALIB, "declares .* the file holds")


@pytest.mark.parametrize("name", ["set.npz", "x.npy", "x.txt"])
def test_damaged_array_file_raises(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 nonsense")
    refuse(tmp_path / name, Use.CALIB, name)


def test_preprocess_file_beside_the_model_is_found(tmp_path: Path) -> None:
    model = tmp_path / "net.v1.onnx"
    assert load_preprocess(model) is None
    (tmp_path / "net.v1.preprocess.yaml").write_text("color: bgr\ncrop: [4, 6]\nmean: [1, 2, 3]\n")
    assert load_preprocess(model) == Preprocess(Color.BGR, None, (4, 6), (1.0, 2.0, 3.0))
    other = tmp_path / "other.yaml"
    other.write_text("std: [2]\n")
    found = load_preprocess(model, other)
    assert found == Preprocess(std=(2.0,))
    assert found.to_data()["color"] == "rgb"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("colour: rgb", "colour"),
        ("color: hsv", "color: found 'hsv'"),
        ("std: [0, 1, 1]", "std.0: found 0"),
        ("mean: [.nan]", "mean.0"),
        ("crop: [0, 5]", "crop.0"),
        ("crop: 5", "crop"),
        ("- 1", "document"),
        ("a: [", "not valid YAML"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("\x00", "not valid YAML"),
    ],
)
def test_wrong_preprocess_file_raises_one_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(DataError, match=match) as caught:
        load_preprocess(tmp_path / "net.onnx", path)
    assert "\n" not in str(caught.value)


def test_missing_preprocess_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_preprocess(tmp_path / "net.onnx", tmp_path / "none.yaml")


def test_means_of_the_wrong_number_raise(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 0)
    refuse(tmp_path, Use.CALIB, "1 or 3 fit", preprocess=Preprocess(mean=(1.0, 2.0)))


def test_signals_are_images_of_height_one(tmp_path: Path) -> None:
    signals = np.random.default_rng(3).standard_normal((4, 2, 9)).astype(np.float32)
    np.save(tmp_path / "signals.npy", signals)
    data = load_dataset(tmp_path / "signals.npy", Use.CALIB, (1, 2, 1, 9))
    np.testing.assert_array_equal(data.inputs([1, 3])[:, :, 0], signals[[1, 3]])
    with pytest.raises(DataError, match="wrong shape"):
        load_dataset(tmp_path / "signals.npy", Use.CALIB, (1, 2, 3, 3))
