"""Volumes judged as bodies: the slices of each are gathered as they are answered, and scored at once."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from meddistill.base.csv_tables import where_used
from meddistill.data.findings import Findings
from meddistill.evaluation.answers import AnsweredCase
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.metrics import count_overlap, outline_distances
from meddistill.evaluation.statistics import describe_samples

VOLUME_METRICS = {
    "dice": ("Dice 3-D", "", "2 TP / (2 TP + FP + FN), voxels of the whole volume"),
    "nsd_mm": (
        "Surface Dice",
        "",
        "share of both surfaces within {tolerance_mm:g} mm of the other",
    ),
    "hd95_mm": ("HD95", "mm", "95th percentile of the distances of both surfaces, pooled"),
    "assd_mm": ("ASSD", "mm", "mean of the distances of both surfaces, pooled"),
    "error_ml": ("Volume error", "ml", "predicted - true"),
    "volume_error": (
        "Volume error, relative",
        "",
        "2 (predicted - true) / (predicted + true): +0.1 is about 10 % too large",
    ),
}
"""Name, unit and definition of each, in the order of the tables; the tolerance to be filled in."""


@dataclasses.dataclass(frozen=True, slots=True)
class VolumeRow:
    """One method's scores on one whole volume: a row of per_volume.csv.

    Millimetres and millilitres are None where the spacing is not known. Empties: as of a slice
    (`evaluation/metrics.py`), with the diagonal of the volume. `finding`: which of several the row is
    of; empty where there is one.
    """

    volume: str
    split: str
    group: str
    method: str
    n_slices: int
    dice: float
    nsd_mm: float | None
    hd95_mm: float | None
    assd_mm: float | None
    true_ml: float | None
    pred_ml: float | None
    error_ml: float | None
    volume_error: float
    missed: bool
    false_alarm: bool
    tp_voxels: int
    pred_voxels: int
    true_voxels: int
    finding: str = where_used("")


@dataclasses.dataclass(frozen=True)
class WholeVolume:
    """All slices of a volume in their order: `images` uint8 (slices, H, W), `truth` and each method's
    `masks` bool (C, slices, H, W); `spacing_mm` (slice, row, column), None where not known; `places`
    of the findings that are judged."""

    case: JudgedCase
    images: np.ndarray
    truth: np.ndarray
    masks: Mapping[str, np.ndarray]
    spacing_mm: tuple[float, float, float] | None
    places: Sequence[int]

    def rows(self, findings: Findings, tolerance_mm: float) -> Iterator[VolumeRow]:
        for method, masks in self.masks.items():
            for place in self.places:
                yield _score(self, method, masks[place], place, findings, tolerance_mm)


class VolumeGatherer:
    """Gives each volume when its last slice is there; holds no more than those that are begun.

    Volumes are those whose slices are numbered without a hole, are of one size, and have true masks.
    `with_masks`: all that have some.
    """

    def __init__(self, cases: Sequence[JudgedCase]) -> None:
        numbers: dict[str, list[int]] = {}
        for case in cases:
            if case.volume and case.slice is not None and case.has_truth:
                numbers.setdefault(case.volume, []).append(case.slice)
        self.with_masks = list(numbers)
        everyone = Counter(case.volume for case in cases)
        self._expected = {
            name: len(found)
            for name, found in numbers.items()
            if len(found) == everyone[name] and max(found) - min(found) + 1 == len(set(found)) > 1
        }
        self._begun: dict[str, list[tuple[AnsweredCase, np.ndarray]]] = {}

    def add(self, answered: AnsweredCase) -> WholeVolume | None:
        """The volume that this slice completes, if it does; one of several sizes gives none."""
        name = answered.case.volume
        if name not in self._expected:
            return None
        begun = self._begun.setdefault(name, [])
        # Of a guess the masks alone: probabilities of a whole volume would fill the memory.
        guesses = {
            method: dataclasses.replace(guess, probs=None)
            for method, guess in answered.guesses.items()
        }
        grey = answered.image[..., 0] if answered.image.ndim == 3 else answered.image
        slim = dataclasses.replace(answered, guesses=guesses, image=grey)
        begun.append((slim, grey))
        if len(begun) < self._expected[name]:
            return None
        slices = [one for one, _ in self._begun.pop(name)]
        slices.sort(key=lambda one: one.case.slice or 0)
        return _whole(slices) if len({one.image.shape for one in slices}) == 1 else None


def _whole(slices: Sequence[AnsweredCase]) -> WholeVolume | None:
    first = slices[0].case
    spacing = None
    if first.spacing_hw_mm is not None and first.slice_mm is not None:
        spacing = (first.slice_mm, *first.spacing_hw_mm)
    truths = [one.truth for one in slices if one.truth is not None]
    if len(truths) < len(slices):
        return None
    methods = [
        method for method in slices[0].guesses if all(method in one.guesses for one in slices)
    ]
    places = [place for place in slices[0].places if all(place in one.places for one in slices)]
    return WholeVolume(
        case=first,
        images=np.stack([one.image for one in slices]),
        truth=np.stack(truths, axis=1),
        masks={
            method: np.stack([one.guesses[method].masks for one in slices], axis=1)
            for method in methods
        },
        spacing_mm=spacing,
        places=places,
    )


def _score(
    whole: WholeVolume,
    method: str,
    pred: np.ndarray,
    place: int,
    findings: Findings,
    tolerance_mm: float,
) -> VolumeRow:
    target, case = whole.truth[place], whole.case
    overlap = count_overlap(pred, target)
    found, there = overlap.tp + overlap.fp, overlap.tp + overlap.fn
    distances, ml = None, None
    if whole.spacing_mm is not None:
        distances = outline_distances(pred, target, whole.spacing_mm, tolerance=tolerance_mm)
        ml = float(np.prod(whole.spacing_mm)) / 1000
    return VolumeRow(
        volume=case.volume,
        split=case.split,
        group=case.group,
        method=method,
        n_slices=len(target),
        dice=overlap.dice,
        nsd_mm=None if distances is None else distances.nsd,
        hd95_mm=None if distances is None else distances.hd95,
        assd_mm=None if distances is None else distances.assd,
        true_ml=None if ml is None else there * ml,
        pred_ml=None if ml is None else found * ml,
        error_ml=None if ml is None else (found - there) * ml,
        volume_error=overlap.area_error,
        missed=there > 0 and not found,
        false_alarm=found > 0 and not there,
        tp_voxels=overlap.tp,
        pred_voxels=found,
        true_voxels=there,
        finding=findings.tag(place),
    )


def summarise_volumes(rows: Sequence[VolumeRow], *, seed: int = 0) -> dict[str, Any]:
    """method -> counts and the spread of each metric, with intervals by group (patient); of several
    findings means of the findings' own over the volumes that have them, which follow as
    `by_finding`. {} for no row."""
    methods = dict.fromkeys(row.method for row in rows)
    summary: dict[str, Any] = {}
    for method in methods:
        own = [row for row in rows if row.method == method]
        findings = list(dict.fromkeys(row.finding for row in own))
        summary[method] = _describe(own, findings, seed)
        if any(findings):
            summary[method]["by_finding"] = {
                name: _describe([row for row in own if row.finding == name], [name], seed)
                for name in findings
            }
    return summary


def _describe(rows: Sequence[VolumeRow], findings: Sequence[str], seed: int) -> dict[str, Any]:
    metrics = {}
    for name in VOLUME_METRICS:
        samples = []
        for finding in findings:
            counted = [
                row for row in rows if row.finding == finding and (not finding or row.true_voxels)
            ]
            values = [getattr(row, name) for row in counted]
            if values and None not in values:
                samples.append((values, [row.group for row in counted]))
        if samples:
            metrics[name] = dataclasses.asdict(describe_samples(samples, seed=seed))
    return {
        "n": len({row.volume for row in rows}),
        "n_groups": len({row.group for row in rows}),
        "n_missed": sum(row.missed for row in rows),
        "n_false": sum(row.false_alarm for row in rows),
        "metrics": metrics,
    }
