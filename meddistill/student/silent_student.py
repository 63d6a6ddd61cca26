"""What a user is told where a student says nothing of itself."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.files import read_json
from meddistill.run.layout import PREPROCESSING_JSON, TRUST_JSON


def how_to_know(student_dir: Path) -> str:
    """How such a student is made to say how far it is to be trusted, or that it cannot."""
    stored = student_dir / PREPROCESSING_JSON
    if stored.is_file() and read_json(stored).get("tiled"):  # `calibrate` refuses it
        return "one that sees images in tiles never does"
    # Fitted in vain: own images are what it lacks.
    if not (student_dir / TRUST_JSON).is_file():
        return "`meddistill calibrate RUN` fits that, without training"
    return (
        "`meddistill calibrate RUN --images DIR` fits that, without training, on images in DIR that taught "
        "it nothing"
    )
