"""Which image comes next: by name in `ORDERS`, which the page and `--order` choose from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from meddistill.run.tables import Case

_FIRST = {"train": 0, "val": 0, "test": 1}

Order = Callable[[Sequence[Case]], list[Case]]
"""Takes the images that are left, gives them in the order in which they are to be looked at."""


def listed(left: Sequence[Case]) -> list[Case]:
    """As cases.csv lists them: slices of a volume one after the other."""
    return sorted(left, key=lambda case: _FIRST[case.split])


def at_random(left: Sequence[Case]) -> list[Case]:
    """Drawn by their names, so that a restart goes on in the same order."""
    return sorted(
        left,
        key=lambda case: (
            _FIRST[case.split],
            hashlib.sha256(f"label {case.case_id}".encode()).digest(),
        ),
    )


ORDERS: dict[str, Order] = {"random": at_random, "listed": listed}
"""Images for training and validation first: boxes on test images train nothing."""
