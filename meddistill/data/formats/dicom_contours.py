"""Contours that people drew on DICOM images (RTSTRUCT), read as masks."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
from skimage.draw import polygon2mask

from meddistill.base.errors import FileError
from meddistill.data.formats.dicom import Header, naming_damage, read_dataset
from meddistill.data.formats.dicom_placement import Placement
from meddistill.data.masks import INSTANCES, FindingValues, Labels, numbered_apart
from meddistill.data.raw_case import OneFile

_CLOSED = "CLOSED_PLANAR"


@dataclasses.dataclass(frozen=True)
class Contour:
    """A closed line `points` ((x, y, z), ...) in mm towards left, back and head, of the structure of that
    number; `image`: the UID that it names, or ''."""

    structure: int
    image: str
    points: tuple[tuple[float, float, float], ...]


@dataclasses.dataclass(frozen=True)
class Structures:
    """A file of contours: `series` and `images`, the UIDs of what was looked at; `names` of the
    structures by number."""

    path: Path
    contours: tuple[Contour, ...]
    series: frozenset[str]
    images: frozenset[str]
    names: tuple[tuple[int, str], ...]

    def speaks_of(self, header: Header) -> bool:
        return header.uid in self.images or header.series in self.series


def read_structures(path: Path) -> Structures:
    """The contours of a file (DICOM PS3.3 C.8.8.5 and C.8.8.6). Raises: InputError."""
    data = read_dataset(path, header_only=True)
    contours, images = [], set()
    with naming_damage(path):
        names = tuple(
            (int(each.ROINumber), str(each.get("ROIName") or each.ROINumber))
            for each in data.get("StructureSetROISequence") or ()
        )
        series = set()
        for frame in data.get("ReferencedFrameOfReferenceSequence") or ():
            for study in frame.get("RTReferencedStudySequence") or ():
                for one in study.get("RTReferencedSeriesSequence") or ():
                    series.add(str(one.get("SeriesInstanceUID") or ""))
                    for image in one.get("ContourImageSequence") or ():
                        images.add(str(image.ReferencedSOPInstanceUID))
        for structure in data.get("ROIContourSequence") or ():
            number = int(structure.ReferencedROINumber)
            for each in structure.get("ContourSequence") or ():
                if str(each.get("ContourGeometricType") or _CLOSED) != _CLOSED:
                    continue  # points and open lines have no area
                values = [float(value) for value in each.ContourData]
                if len(values) < 9 or len(values) % 3:
                    raise FileError(path, f"has a contour of {len(values)} numbers")
                points = tuple(zip(values[::3], values[1::3], values[2::3], strict=True))
                named = each.get("ContourImageSequence") or ()
                uid = str(named[0].ReferencedSOPInstanceUID) if named else ""
                contours.append(Contour(number, uid, points))
    if not contours:
        raise FileError(path, "holds no closed contour")
    images |= {each.image for each in contours if each.image}
    return Structures(path, tuple(contours), frozenset(series - {""}), frozenset(images), names)


@dataclasses.dataclass(frozen=True)
class ContourMask(OneFile):
    """What the contours on one image enclose; where two of one structure overlap, the inner one is a
    hole. `labels`: numbers of the structures that are lesion; None for all; with
    `INSTANCES` each is an object."""

    contours: tuple[Contour, ...]
    placement: Placement
    size_hw: tuple[int, int]
    labels: Labels = None

    @property
    def token(self) -> str:
        which = hashlib.sha256(repr(self.contours).encode()).hexdigest()[:16]
        return f"contours {which} size {self.size_hw} labels {self.labels}"

    def load(self) -> np.ndarray:
        if isinstance(self.labels, FindingValues):
            return np.stack(
                [dataclasses.replace(self, labels=values).load() for values in self.labels.values]
            )
        structures = sorted({each.structure for each in self.contours})
        if self.labels == INSTANCES:
            planes = [self._enclosed(structure) for structure in structures]
            return numbered_apart(planes, self.size_hw, self.path.name)
        found = np.zeros(self.size_hw, dtype=bool)
        for structure in structures:
            if not isinstance(self.labels, tuple) or structure in self.labels:
                found |= self._enclosed(structure)
        return found

    def _enclosed(self, structure: int) -> np.ndarray:
        at = self.placement
        row_mm, column_mm = at.spacing_hw_mm
        found = np.zeros(self.size_hw, dtype=bool)
        for each in self.contours:
            if each.structure != structure:
                continue
            from_first = np.array(each.points) - at.position
            rows, columns = from_first @ at.down / row_mm, from_first @ at.across / column_mm
            found ^= polygon2mask(self.size_hw, np.stack([rows, columns], axis=1))
        return found
