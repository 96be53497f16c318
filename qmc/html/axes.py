"""Axes of charts: where a value lies, and round numbers to mark."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Axis:
    """Values ``low`` to ``high`` on positions ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Position of ``value``, one digit; outside values stop at the ends."""
        low, high, value = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 1)

    def ticks(self) -> tuple[float, ...]:
        """Round values between the ends: decades, or about five steps of 1, 2 or 5."""
        if self.logarithmic:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            return tuple(10.0**power for power in range(first, last + 1))
        step = _round_step((self.high - self.low) / 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return tuple(round(index * step, 12) for index in range(first, last + 1))


def linear_axis(values: list[float], start: float, end: float) -> Axis:
    """An axis that holds ``values`` with some room at both ends."""
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return Axis(low - room, high + room, start, end)


def log_axis(values: list[float], start: float, end: float) -> Axis:
    """A logarithmic axis from a whole decade below ``values`` to one above them."""
    low = 10.0 ** math.floor(math.log10(min(values)) - 0.05)
    high = 10.0 ** math.ceil(math.log10(max(values)) + 0.05)
    return Axis(low, high, start, end, logarithmic=True)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
