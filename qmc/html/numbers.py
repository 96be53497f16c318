"""Numbers as a page shows them: three digits and a unit."""

from __future__ import annotations

from qmc.mapping_text import size_text

__all__ = [
    "amount",
    "count",
    "digits",
    "picojoule",
    "power",
    "share",
    "signed_percent",
    "size_text",
    "tick",
    "times_text",
]

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_ENERGIES = ((1e9, "mJ"), (1e6, "µJ"), (1e3, "nJ"), (1.0, "pJ"))


def digits(value: float) -> str:
    """Three significant digits, no exponent between 0.001 and a million."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 999.5:
        return f"{value:,.0f}"
    for limit, places in ((99.95, 0), (9.995, 1), (0.9995, 2), (0.09995, 3), (0.009995, 4)):
        if size >= limit:
            return f"{value:.{places}f}"
    return f"{value:.3g}"


def amount(value: float, unit: str = "") -> str:
    """12.3 M, with the unit behind the prefix; whole numbers below a thousand as they are."""
    if isinstance(value, int) and abs(value) < 1000:
        return f"{value} {unit}".strip()
    for size, prefix in _UNITS:
        if abs(value) >= 0.9995 * size:
            return f"{digits(value / size)} {prefix}{unit}"
    return f"{digits(value)} {unit}".strip()


def picojoule(value: float) -> str:
    """An energy given in pJ in the unit that suits it."""
    for size, unit in _ENERGIES:
        if abs(value) >= 0.9995 * size:
            return f"{digits(value / size)} {unit}"
    return f"{digits(value)} pJ"


def count(value: int) -> str:
    """A whole number with separators."""
    return f"{value:,}"


def share(part: float, whole: float) -> float:
    """Percent of ``whole``, two digits, for the length of a bar."""
    return round(100 * part / whole, 2) if whole else 0.0


def signed_percent(value: float, reference: float) -> str:
    """The change from ``reference`` in percent; ``±0 %`` where none is seen."""
    if not reference:
        return "n/a"
    change = 100 * (value / reference - 1)
    return "±0 %" if abs(change) < 0.05 else f"{change:+.1f} %".replace("-", "−")


def times_text(factor: float) -> str:
    """A factor: ×1.04, ×16.2."""
    return f"×{digits(factor)}"


def power(value: float) -> str:
    """9.75 × 10¹²."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_RAISED)}"


def tick(value: float) -> str:
    """A mark on an axis."""
    if value and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
    return f"{value:,.10g}"
