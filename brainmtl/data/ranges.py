"""Ranges that random numbers are drawn from, and checks of the options that give them."""

from __future__ import annotations

from brainmtl.errors import ConfigError

Range = tuple[float, float]


def check_chance(option: str, value: float) -> None:
    """Refuse a chance outside 0..1.

    Raises:
        ConfigError: names ``augmentation.<option>``.
    """
    if not 0 <= value <= 1:
        raise ConfigError(f"augmentation.{option}={value} must lie in 0..1")


def check_range(option: str, span: Range, above_zero: str | None = None) -> None:
    """Refuse a range (low, high) that descends or, with the unit ``above_zero``, reaches down to 0.

    Raises:
        ConfigError: names ``augmentation.<option>``.
    """
    low, high = span
    if low > high or (above_zero and low <= 0):
        unit = f" of {above_zero} above 0" if above_zero else ""
        raise ConfigError(f"augmentation.{option}={[low, high]} must be an ascending range{unit}")
