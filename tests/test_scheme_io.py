"""scheme.yaml: exact round trip, hostile input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_widths import network

from qmc.arithmetic import QuantParams, Rounding
from qmc.errors import SchemeError
from qmc.formats import WEIGHT_FORMATS, number_format
from qmc.scheme import Scheme, WeightScheme
from qmc.scheme_io import load_scheme, scheme_to_text
from qmc.widths import parse_widths

numbers = st.floats(1e-300, 1e300)
SCHEME = Scheme(
    dict.fromkeys("xabcy", QuantParams(8, 0.1, 3)),
    {"conv1": WeightScheme(4, (0.5, 1e-05)), "conv2": WeightScheme(8, (1.0, 3e22), (-0.0, 1.5))},
    Rounding.FLOOR,
    ("a note: with 'quotes' and \u00e9",),
)
E2M1 = WeightScheme(4, (0.5, 0.25), format="e2m1")


def test_scheme_reads_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "scheme.yaml"
    path.write_text(scheme_to_text(SCHEME), encoding="utf-8")
    assert load_scheme(path, network()) == SCHEME
    assert parse_widths(str(path), network()) == SCHEME


@pytest.mark.parametrize("name", [*WEIGHT_FORMATS, "int3", "int8"])
def test_weight_codes_of_every_format_survive(tmp_path: Path, name: str) -> None:
    form = number_format(name)
    size = network().parameters["conv1"].weights.size
    codes = np.resize(form.decode(np.flatnonzero(~np.array(form.spare))), size).astype(np.int8)
    chosen = None if name.startswith("int") else name
    weights = WeightScheme(form.bits, (0.5, 0.25), None, codes.tobytes(), chosen)
    scheme = replace(SCHEME, weights={**SCHEME.weights, "conv1": weights})
    path = tmp_path / "scheme.yaml"
    path.write_text(scheme_to_text(scheme), encoding="utf-8")
    assert load_scheme(path, network()) == scheme


def test_width_that_is_not_the_formats_is_refused(tmp_path: Path) -> None:
    scheme = replace(SCHEME, weights={**SCHEME.weights, "conv1": E2M1})
    path = tmp_path / "scheme.yaml"
    path.write_text(scheme_to_text(scheme).replace("bits: 4\n", "bits: 7\n", 1))
    with pytest.raises(SchemeError, match=r"weights\.conv1: found 7 bits; e2m1 has 4"):
        load_scheme(path, network())


@given(numbers, numbers, st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, scale: float, weight: float, bias: float
) -> None:
    tensors = dict.fromkeys("xabcy", QuantParams(8, scale, 0))
    weights = dict.fromkeys(("conv1", "conv2"), WeightScheme(3, (weight, 1.0), (bias, 0.0)))
    path = tmp_path_factory.mktemp("s") / "scheme.yaml"
    path.write_text(scheme_to_text(Scheme(tensors, weights)))
    assert load_scheme(path, network()) == Scheme(tensors, weights)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("schema_version: 1", "schema_version: 2", "schema_version: found 2"),
        ("rounding: floor-shift", "rounding: up", "rounding: found 'up'"),
        ("scale: 0.1", "scale: .nan", "scale: found nan"),
        ("scale: 0.1", "scale: 0.0", "scale: found 0"),
        ("scale: 0.1", "scale: big", "scale: found 'big'"),
        ("bits: 8, scale", "bits: 20, scale", "bits: found 20"),
        ("zero_point: 3", "zero_point: 300", "zero point 300 outside"),
        ("zero_point: 3", "zero_point: 3, extra: 1", "extra"),
        ("0.5, 1.0e-05", "0.5", "found 1 numbers, the layer has 2"),
        ('"conv1"', '"conv7"', "layer 'conv1' has no entry"),
        ('"x"', '"z"', "tensor 'x' has no entry"),
        ("notes:", "remarks:", "remarks"),
    ],
)
def test_wrong_scheme_file_raises(tmp_path: Path, old: str, new: str, match: str) -> None:
    text = scheme_to_text(SCHEME)
    assert old in text
    path = tmp_path / "scheme.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SchemeError, match=match) as caught:
        load_scheme(path, network())
    assert "\n" not in str(caught.value)


def test_missing_file_raises(tmp_path: Path) -> None:
    with pytest.raises(SchemeError, match="cannot be read"):
        load_scheme(tmp_path / "none.yaml", network())
