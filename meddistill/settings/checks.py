"""What a setting must fulfil; each check raises a ConfigError that names the field, its value and
what is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from meddistill.base.errors import ConfigError, nearest


def check_choice(config: Any, name: str, allowed: Sequence[str]) -> None:
    """The field is one of `allowed`; the message names the nearest."""
    value = getattr(config, name)
    if value not in allowed:
        raise ConfigError(f"{name} is '{value}'{nearest(value, allowed)}")


def check_range(config: Any, low: float, high: float, *names: str) -> None:
    """low <= field <= high; NaN is not. An empty field (None) passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise ConfigError(f"{name} must lie in [{low}, {high}], got {value}")


def check_at_least(config: Any, low: float, *names: str) -> None:
    """Field >= low; NaN is not."""
    for name in names:
        value = getattr(config, name)
        if not value >= low:
            raise ConfigError(f"{name} must be at least {low}, got {value}")


def check_above_zero(config: Any, name: str) -> None:
    """Field > 0; NaN is not."""
    value = getattr(config, name)
    if not value > 0:
        raise ConfigError(f"{name} must be above 0, got {value}")
