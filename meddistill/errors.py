"""What can go wrong in a way the user can mend: one line, what was expected, what was found, what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MedDistillError(Exception):
    """A problem that the user can act on; the command line prints it in one line and exits with 1."""


class ConfigError(MedDistillError):
    """A setting that is unknown, of the wrong type or out of range."""


class InputError(MedDistillError):
    """An input file or folder that is missing, unreadable or not what it should be."""


class StageError(MedDistillError):
    """A RUN that lacks an earlier stage, or holds this one with other settings."""


class WeightsError(MedDistillError):
    """Model weights that are missing, damaged or not to be trusted."""


class TrainingError(MedDistillError):
    """Training that cannot go on with these settings."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'X'?` for the allowed name closest to `name`; the list of allowed names where none is close."""
    allowed = list(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else f"; choose from {', '.join(allowed)}"
