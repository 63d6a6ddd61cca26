"""What a setting must fulfil; each check raises a ConfigError that names the field, its value and
what is allowed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from meddistill.base.errors import ConfigError, nearest

LARGEST = 2**32 - 1
"""Of whole numbers: the largest seed that numpy takes, and beyond what torch counts with."""
LARGEST_FRAME = 8192
"""Side of what a network sees, px: one image takes more memory than machines have."""


def check_numbers(config: Any) -> None:
    """Every number of a section is finite, and no whole one beyond `LARGEST`."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"{field.name} must be a finite number, got {value}")
            if isinstance(number, int) and number > LARGEST:
                raise ConfigError(f"{field.name} must be at most {LARGEST}, got {value}")


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


def check_step(config: Any, name: str) -> None:
    """0 < field <= 1: beyond it an optimiser only makes noise, as where 5e4 stands for 5e-4."""
    value = getattr(config, name)
    if not 0 < value <= 1:
        raise ConfigError(f"{name} must be above 0 and at most 1, got {value}")
