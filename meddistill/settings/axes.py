"""What the axes of a volume are called, as a person types them."""

from __future__ import annotations

from meddistill.base.errors import ConfigError, nearest

AUTO, AXIAL = -1, 2
NUMBERS = {"auto": AUTO, "sagittal": 0, "coronal": 1, "axial": AXIAL, "0": 0, "1": 1, "2": 2}


def axis_number(text: str) -> int:
    """The number of `prepare.axis`. Raises: ConfigError for what is no axis."""
    if text.lower() not in NUMBERS:
        raise ConfigError(f"axis is '{text}', expected a number or a name{nearest(text, NUMBERS)}")
    return NUMBERS[text.lower()]
