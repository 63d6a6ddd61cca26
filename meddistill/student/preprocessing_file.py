"""preprocessing.json: what a student's input must be, beside its weights. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json, write_json
from meddistill.data.findings import LESION, Findings
from meddistill.data.grid import Grid
from meddistill.data.intensity import IntensitySettings
from meddistill.data.preprocessing import AXIAL, Preprocessing


def write_preprocessing(path: Path, preprocessing: Preprocessing) -> None:
    """Write preprocessing.json, whole or not at all; what was added later only where it is used."""
    about = dataclasses.asdict(preprocessing)
    del about["findings"], about["thresholds"]
    if preprocessing.findings != LESION or preprocessing.findings.chosen_colours:
        about["findings"] = preprocessing.findings.as_dict()
        about["thresholds"] = list(preprocessing.cuts)
    if preprocessing.grid is None:
        del about["grid"]
    if not preprocessing.tiled:
        del about["tiled"]
    if preprocessing.axis == AXIAL:
        del about["axis"]
    if not preprocessing.context:
        del about["context"]
    if preprocessing.intensity.scanner_8bit == "stretched":
        del about["intensity"]["scanner_8bit"]
    write_json(path, about)


def read_preprocessing(path: Path) -> Preprocessing:
    """Read preprocessing.json; keys it does not know are ignored. Raises: InputError naming the
    value that is wrong."""
    found = read_json(path)
    try:
        values = Preprocessing(
            image_size=int(found["image_size"]),
            mean=_three(found["mean"]),
            std=_three(found["std"]),
            threshold=float(found["threshold"]),
            intensity=_intensity(found.get("intensity", {})),
            findings=Findings.from_dict(found["findings"]) if "findings" in found else LESION,
            thresholds=tuple(float(value) for value in found.get("thresholds", ())),
            axis=int(found.get("axis", AXIAL)),
            context=int(found.get("context", 0)),
            tiled=bool(found.get("tiled", False)),
            grid=_grid(found.get("grid")),
        )
        if len(values.cuts) != len(values.findings) or not all(
            0 <= cut <= 1 for cut in values.cuts
        ):
            raise ValueError(f"thresholds must be one in [0, 1] a finding, got {values.cuts}")
        if values.axis not in (0, 1, 2) or not 0 <= values.context <= 7:
            raise ValueError(f"axis must be 0 to 2 and context 0 to 7, got {values}")
        if values.image_size < 1 or min(values.std) <= 0 or not 0 <= values.threshold <= 1:
            raise ValueError(
                f"image_size, std must be positive and threshold in [0, 1], got {values}"
            )
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise InputError(f"{path} is not a student's preprocessing: {reason}") from error
    return values


def _intensity(found: Any) -> IntensitySettings:
    """What a student that was made before intensities were stored lacks has its default."""
    if not isinstance(found, dict) or found.get("mode", "auto") not in (
        "auto",
        "percentile",
        "full",
    ):
        raise ValueError(f"intensity is {found}")
    window = found.get("window")
    if window is not None:
        low, high = (float(value) for value in window)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"the window of intensity is {window}")
        window = (low, high)
    scanner = str(found.get("scanner_8bit", "stretched"))
    if scanner not in ("as-is", "stretched"):
        raise ValueError(f"scanner_8bit of intensity is {scanner}")
    return IntensitySettings(
        str(found.get("mode", "auto")), window, bool(found.get("per_volume", True)), scanner
    )


def _grid(found: Any) -> Grid | None:
    if found is None:
        return None
    return Grid(float(found["spacing_mm"]), int(found["side_px"]))


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    if not all(math.isfinite(value) for value in (first, second, third)):
        raise ValueError(f"expected three finite numbers, got {values}")
    return first, second, third
