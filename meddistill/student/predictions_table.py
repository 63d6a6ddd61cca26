"""predictions.csv: what was found on each slice. A new column is a field and the line that fills
it, both in `PredictionRow`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from meddistill.base.csv_tables import where_used
from meddistill.base.paths import printable
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.findings import LESION, Findings
from meddistill.data.scans import Scan
from meddistill.student.trust.reading import Reading, Review, review

UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class PredictedScan:
    """A file's slices and what the student says of each: `probs` float32 (C, H, W) in [0, 1],
    `masks` bool (C, H, W), a map a finding. `name`: of the files that are written of it.

    `readings`: what it says of its own answer, a slice each, None where it knows nothing; `doubts`:
    what is odd about each slice; neither where nobody asked. `review_below`: expected Dice below
    which to look. `agreements`, `refined`: (C,) a slice, of the teacher where it was asked."""

    name: str
    scan: Scan
    probs: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    findings: Findings = LESION
    readings: Sequence[Reading | None] = ()
    doubts: Sequence[Sequence[str]] = ()
    review_below: float = 0.7
    agreements: Sequence[np.ndarray] = ()
    refined: Sequence[np.ndarray] = ()

    def reading(self, index: int) -> Reading | None:
        return self.readings[index] if self.readings else None

    def review(self, index: int, place: int) -> Review:
        """Whether a person should look at a finding of the slice at `index`."""
        has_mask = bool(self.masks[index][place].any())
        doubts = self.doubts[index] if self.doubts else ()
        return review(self.reading(index), place, has_mask, doubts, self.review_below)

    @functools.cached_property
    def volumes_ml(self) -> list[float | None]:
        """Of each finding in the whole volume; None for what is no volume, or of unknown spacing."""
        voxel = self.scan.voxel_mm3 if self.scan.is_volume else None
        if voxel is None:
            return [None] * len(self.findings)
        counts = np.sum([mask.sum(axis=(1, 2)) for mask in self.masks], axis=0)
        return [round(float(count * voxel) / 1000, 4) for count in counts]


@dataclasses.dataclass(frozen=True, slots=True)
class PredictionRow:
    """What was found on one slice.

    `source`: the path of its file, escaped as in `printable`. `slice` counts from 0 (a volume's axial
    slices, from the feet up) and is empty for a picture.
    `area_mm2` is empty where the pixels' size is not known. `components`: 8-connected parts of the
    mask. `confidence` in [0, 1]: mean probability of the mask's pixels; of an empty mask, 1 minus
    the highest probability anywhere. `mask`: the file that holds it, relative to the table.
    `finding`: which of several the row is of; empty where there is one. `volume_ml`: of the finding in
    the whole volume that the slice is of, the same on all of its slices.

    What the student says of itself, `unknown` where it cannot: `familiarity` in [0, 1], the share of
    own images that are at least as unlike its training images; `expected_dice` with the truth, if
    there is a lesion, and its bounds; `p_finding` in [0, 1], that there is one; `review`: yes or no,
    `review_why`: divided by `; `. With a teacher that was asked: `agreement`, Dice of the student's
    mask with its answer, None where there was nothing to ask by; `refined`: the mask is the teacher's.
    """

    name: str
    source: str
    slice: int | None
    width: int
    height: int
    area_px: int
    area_mm2: float | None
    components: int
    confidence: float
    mask: str
    finding: str = where_used("")
    volume_ml: float | None = where_used(None)
    familiarity: str = UNKNOWN
    expected_dice: str = UNKNOWN
    expected_dice_low: str = UNKNOWN
    expected_dice_high: str = UNKNOWN
    p_finding: str = UNKNOWN
    review: str = UNKNOWN
    review_why: str = ""
    agreement: float | None = where_used(None)
    refined: bool = where_used(False)

    @classmethod
    def of(
        cls, predicted: PredictedScan, index: int, mask_file: str, place: int = 0
    ) -> PredictionRow:
        """The row of the slice at `index` and the finding at `place`.

        Args:
            predicted: the file's slices.
            index: of the slice.
            mask_file: where its mask lies.
            place: of the finding.
        """
        scan = predicted.scan
        mask, prob = predicted.masks[index][place], predicted.probs[index][place]
        area = int(mask.sum())
        return cls(
            name=predicted.name,
            source=printable(str(scan.path)),
            slice=index if scan.is_stack else None,
            width=mask.shape[1],
            height=mask.shape[0],
            area_px=area,
            area_mm2=_area_mm2(area, scan.spacing_hw_mm),
            components=len(mask_to_boxes(mask)),
            confidence=round(float(prob[mask].mean() if area else 1 - prob.max()), 4),
            mask=mask_file,
            finding=predicted.findings.tag(place),
            volume_ml=predicted.volumes_ml[place],
            **_of_itself(predicted, index, place),
            **_of_teacher(predicted, index, place),
        )

    @property
    def is_judged(self) -> bool:
        """Whether more is known of the answer than how familiar the image is."""
        return self.p_finding != UNKNOWN or (self.area_px > 0 and self.expected_dice != UNKNOWN)

    @property
    def badness(self) -> float:
        """The higher, the sooner a person should look; 0 where nothing is known."""
        reasons = len([why for why in self.review_why.split("; ") if why])
        told = self.expected_dice if self.area_px else self.p_finding
        if told == UNKNOWN:
            return float(reasons)
        return reasons + (1 - float(told) if self.area_px else float(told))


def _of_itself(predicted: PredictedScan, index: int, place: int) -> dict[str, Any]:
    reading, wanted = predicted.reading(index), predicted.review(index, place)
    if reading is None:
        return {}
    of = reading.findings[place]
    names = ("expected_dice", "expected_dice_low", "expected_dice_high", "p_finding")
    return {
        "familiarity": _told(reading.familiarity),
        **{name: _told(getattr(of, name)) for name in names},
        "review": {True: "yes", False: "no", None: UNKNOWN}[wanted.wanted],
        "review_why": "; ".join(wanted.why),
    }


def _of_teacher(predicted: PredictedScan, index: int, place: int) -> dict[str, Any]:
    if not predicted.agreements:
        return {}
    agreed = float(predicted.agreements[index][place])
    return {
        "agreement": round(agreed, 4) if np.isfinite(agreed) else None,
        "refined": bool(predicted.refined[index][place]),
    }


def _told(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4f}"


def _area_mm2(area_px: int, spacing_hw_mm: tuple[float, float] | None) -> float | None:
    if spacing_hw_mm is None:
        return None
    return round(area_px * (spacing_hw_mm[0] * spacing_hw_mm[1]), 3)
