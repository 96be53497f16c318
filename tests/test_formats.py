"""Number formats against ml_dtypes, IEEE rounding and their own definitions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmc.errors import SchemeError
from qmc.formats import FORMAT_NAMES, WEIGHT_FORMATS, EnergyClass, number_format
from qmc.packing import pack_rows, unpack_rows

_REFERENCE = {
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
}


@pytest.mark.parametrize("name", _REFERENCE)
def test_minifloat_values_equal_ml_dtypes_code_by_code(name: str) -> None:
    form = number_format(name)
    codes = np.arange(1 << form.bits, dtype=np.uint8)
    theirs = codes.view(_REFERENCE[name]).astype(np.float64)
    spare = np.array(form.spare)
    negative_zero = 1 << (form.bits - 1)
    assert np.array_equal(form.values()[~spare], theirs[~spare])
    assert np.all(~np.isfinite(theirs[spare]) | (codes[spare] == negative_zero))


@pytest.mark.parametrize("name", _REFERENCE)
@given(seed=st.integers(0, 2**32 - 1))
def test_minifloat_encoding_equals_ml_dtypes_inside_the_range(name: str, seed: int) -> None:
    form = number_format(name)
    values = form.values()
    rng = np.random.default_rng(seed)
    middle = (rng.choice(values, 64) + rng.choice(values, 64)) / 2  # many exact ties
    reals = np.concatenate([rng.uniform(values.min(), values.max(), 64), middle])
    theirs = reals.astype(np.float32).astype(_REFERENCE[name]).astype(np.float64)
    ours = form.decode(form.encode(reals.astype(np.float32))) * form.unit
    assert np.array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "largest", "smallest"),
    [
        ("e2m1", 6, 0.5),
        ("e2m3", 7.5, 0.125),
        ("e3m2", 28, 0.0625),
        ("e4m3", 448, 2.0**-9),
        ("e5m2", 57344, 2.0**-16),
        ("fp143b4", 2.0**11 * 1.875, 2.0**-6),
        ("pot4", 64, 1),
    ],
)
def test_format_largest_and_smallest_are_those_of_its_definition(
    name: str, largest: float, smallest: float
) -> None:
    values = number_format(name).values()
    assert values.max() == largest
    assert values.min() == -largest
    assert values[values > 0].min() == smallest


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_format_codes_survive_encoding_and_packing(name: str) -> None:
    form = number_format(name)
    codes = np.flatnonzero(~np.array(form.spare))
    assert np.array_equal(form.encode(form.values()[codes]), codes)
    packed = pack_rows(codes, form.bits)
    assert packed.size == (codes.size * form.bits + 7) // 8
    assert np.array_equal(unpack_rows(packed, form.bits, codes.size, signed=False), codes)


@pytest.mark.parametrize("name", FORMAT_NAMES)
@given(seed=st.integers(0, 2**32 - 1))
def test_format_encoding_takes_the_nearest_value(name: str, seed: int) -> None:
    form = number_format(name)
    values = form.values()
    reals = np.random.default_rng(seed).normal(0, np.abs(values).max() / 2, 50)
    chosen = form.decode(form.encode(reals)) * form.unit
    nearest = np.abs(values[:, None] - reals).min(axis=0)
    assert np.array_equal(np.abs(chosen - reals), nearest)


@pytest.mark.parametrize("bits", [1, 2, 5, 8, 16])
def test_integer_format_is_twos_complement_with_rint(bits: int) -> None:
    form, half = number_format(f"int{bits}"), 1 << (bits - 1)
    reals = np.arange(-2 * half, 2 * half) / 2
    expected = np.clip(np.rint(reals), -half, half - 1)
    assert np.array_equal(form.decode(form.encode(reals)), expected)
    assert form.integer_bits == bits


def test_weight_formats_are_those_whose_numerators_fit_int8() -> None:
    others = [name for name in FORMAT_NAMES if not name.startswith("int")]
    assert set(WEIGHT_FORMATS) == {n for n in others if number_format(n).integer_bits <= 8}


def test_format_energy_classes_follow_the_multiplication() -> None:
    classes = {name: number_format(name).energy_class for name in ("binary", "ternary", "pot4")}
    assert classes == {
        "binary": EnergyClass.SIGN,
        "ternary": EnergyClass.SIGN,
        "pot4": EnergyClass.SHIFT,
    }
    assert number_format("e4m3").energy_class is EnergyClass.FLOAT


def test_format_unknown_name_lists_what_is_allowed() -> None:
    with pytest.raises(SchemeError, match=r"found 'e9m9'; allowed: int1, .*fp143b15"):
        number_format("e9m9")
