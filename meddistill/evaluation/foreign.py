"""Images that are not a student's own, to see whether it notices."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError
from meddistill.base.hashing import fingerprint_source, hash_files
from meddistill.data.intensity import IntensitySettings
from meddistill.data.preprocessing import AXIAL, Preprocessing
from meddistill.data.scans import Cut, Scan, find_scans, read_scan
from meddistill.evaluation.trust_scores import area_under_roc
from meddistill.student.predictor import Predictor, doubts_of, knows_itself, look_at
from meddistill.student.scan_masks import as_taken
from meddistill.student.silent_student import how_to_know
from meddistill.student.trust.reading import UNFAMILIAR

MOST = 250
"""Images of a folder that are looked at, evenly over it."""


@dataclasses.dataclass(frozen=True)
class ForeignFolder:
    """A set of images that are not a student's own: files, by a name that a reader knows."""

    name: str
    directory: Path
    files: Sequence[Path]

    @property
    def fingerprint(self) -> str:
        return fingerprint_source(hash_files(self.files, self.directory), self.directory)

    def images(self, intensity: IntensitySettings | None) -> list[np.ndarray]:
        """uint8, of a volume the middle slice; a file that cannot be read is named and left out.
        Raises: InputError where none can."""
        return [scan.images[len(scan.images) // 2] for scan in self._scans(intensity, AXIAL)]

    def shown(self, stored: Preprocessing) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `images`, each with what `predict` shows a student of it: with its neighbours, on the
        student's grid."""
        return [
            (scan.images[middle], as_taken(scan, stored)[middle])
            for scan in self._scans(stored.intensity, stored.axis)
            for middle in [len(scan.images) // 2]
        ]

    def _scans(self, intensity: IntensitySettings | None, axis: int) -> Iterator[Scan]:
        found = False
        for path in self.files:
            try:
                scan = read_scan(path, intensity, Cut(axis))
            except InputError as error:
                console.warn(f"{self.name}: {error}")
                continue
            found = True
            yield scan
        if not found:
            raise InputError(f"{self.name}: no image in {self.directory} can be read")


def foreign_folders(given: Sequence[str], option: str = "--foreign") -> list[ForeignFolder]:
    """Of each FOLDER or NAME=FOLDER at most `MOST` images; `option` is what an error names. Raises:
    ConfigError for a name given twice or none, InputError for a folder without images."""
    found: list[ForeignFolder] = []
    for text in given:
        name, equals, folder = text.partition("=")
        folder = folder if equals else text
        name = name if equals else Path(folder).resolve().name
        if not name or not folder or name in ("own", *(each.name for each in found)):
            raise ConfigError(
                f"{option} is '{text}', expected FOLDER or NAME=FOLDER, with names that differ and "
                "are not 'own'"
            )
        files, problems = find_scans([folder])
        if problems:
            raise InputError(f"{option}: {problems[0]}")
        chosen = [files[place * len(files) // MOST] for place in range(MOST)]
        directory = Path(folder) if Path(folder).is_dir() else files[0].parent
        found.append(ForeignFolder(name, directory, chosen if len(files) > MOST else files))
    return found


def flags_of(
    predictor: Predictor,
    images: Sequence[np.ndarray],
    own: np.ndarray | None = None,
    taken: Sequence[np.ndarray] | None = None,
) -> dict[str, Any]:
    """Shares of images that a student calls unfamiliar, that look odd to it, and either; with the
    distances of own ones, `own` (n,), also the area under ROC of the distance, and `as_own`: the share
    beyond the distance that one in twenty of those is beyond.

    Args:
        predictor: the student.
        images: uint8 (H, W) or (H, W, 3).
        own: logarithms of the distances of own images.
        taken: the same images as the student takes them; as they are where none is given.
    """
    readings = [seen.reading for seen in look_at(predictor, images if taken is None else taken)]
    far = np.array([each is not None and _is_far(each.familiarity) for each in readings])
    odd = np.array([bool(doubts_of(predictor, image)) for image in images])
    told: dict[str, Any] = {
        "images": len(images),
        "unfamiliar": float(far.mean()),
        "odd": float(odd.mean()),
        "either": float((far | odd).mean()),
    }
    distance = distances([each.signals for each in readings if each is not None])
    if own is not None and len(own) and len(distance):
        told["auroc"] = area_under_roc(own, distance)
        told["as_own"] = float((distance > np.quantile(own, 1 - UNFAMILIAR)).mean())
    return told


def not_judged(predictor: Predictor, student_dir: Path) -> str:
    """Why `--foreign` shows nothing, where nothing was judged of what the student in `student_dir`
    says of itself."""
    if knows_itself(predictor):
        return (
            "--foreign: not looked at, as no judged case has a true mask; `meddistill predict STUDENT "
            "FOLDER` says of each image what is odd about it"
        )
    return f"--foreign: the student says nothing of itself; {how_to_know(student_dir)}"


def distances(signals: Sequence[np.ndarray | None]) -> np.ndarray:
    """(n,): the logarithm of the distance from the training images, of those that have one."""
    return np.array([float(each[0, -1]) for each in signals if each is not None])


def _is_far(familiarity: float | None) -> bool:
    return familiarity is not None and familiarity < UNFAMILIAR
