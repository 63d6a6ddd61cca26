"""What earlier stages left for the report to show: the student's training log, the detector's
measurements."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path
from typing import Any

from meddistill.base.errors import InputError
from meddistill.base.files import read_json
from meddistill.run.layout import METRICS_CSV, METRICS_JSON


@dataclasses.dataclass(frozen=True)
class History:
    """`training`: column of metrics.csv -> value an epoch (None where it was empty), columns in the
    file's order.

    `detector`: metrics.json as it is. Both empty where there is nothing: a student may come from
    anywhere.
    """

    training: dict[str, list[float | None]] = dataclasses.field(default_factory=dict)
    detector: dict[str, Any] = dataclasses.field(default_factory=dict)


def read_history(student_dir: Path, detector_dir: Path | None = None) -> History:
    """Read what is there. Raises: InputError for a file that is there and damaged."""
    training: dict[str, list[float | None]] = {}
    log = student_dir / METRICS_CSV
    if log.is_file():
        training = _read_columns(log)
    detector: dict[str, Any] = {}
    if detector_dir is not None and (detector_dir / METRICS_JSON).is_file():
        detector = read_json(detector_dir / METRICS_JSON)
        if not isinstance(detector, dict):
            raise InputError(
                f"{detector_dir / METRICS_JSON} does not hold a table of names and values"
            )
    return History(training, detector)


def _read_columns(path: Path) -> dict[str, list[float | None]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns: dict[str, list[float | None]] = {name: [] for name in reader.fieldnames or []}
            for record in reader:
                for name, values in columns.items():
                    values.append(_number(record[name]))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a training log: {error}") from error
    return columns


def _number(text: str | None) -> float | None:
    if not text:
        return None
    value = float(text)
    return value if math.isfinite(value) else None
