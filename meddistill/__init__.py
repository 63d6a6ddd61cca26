"""MedDistill: images and boxes in, a small segmenter that needs neither box nor GPU out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from meddistill.base import cores as _cores

if TYPE_CHECKING:
    from meddistill.student.student import Student as Student
    from meddistill.student.student import load_student as load_student

__version__ = "0.1.0"
__all__ = ["Student", "__version__", "load_student"]

# Here, as every process of ours comes through this door before it loads torch: commands, workers,
# and `load_student`.
_cores.set_thread_defaults(os.environ)


def __getattr__(name: str) -> Any:
    # `meddistill --help` imports this package and must not wait for torch.
    if name in ("Student", "load_student"):
        from meddistill.student import student

        return getattr(student, name)
    raise AttributeError(f"module 'meddistill' has no attribute '{name}'")
