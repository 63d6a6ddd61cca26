"""DICOM segmentations: files whose frames are masks of other DICOM files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import FileError
from meddistill.data.formats.dicom import Header, naming_damage, read_dataset, read_pixels
from meddistill.data.formats.dicom_placement import Placement, placements_of
from meddistill.data.masks import INSTANCES, FindingValues, Labels, numbered_apart, select_labels
from meddistill.data.raw_case import OneFile

_ELSEWHERE = 0.5
"""Share of a pixel's shorter side beyond which a frame does not lie on its image."""


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """A DICOM segmentation: by the UID of an image, which frames are masks of it, each with its
    segment; `images` and `series` are the UIDs of all that were looked at; `segments` their names by
    number. `placed`: where each frame lies, () where it does not say. `most`: what stands for all of a
    pixel where shares of it are stored, else 0."""

    path: Path
    frames_of: Mapping[str, tuple[tuple[int, int], ...]]
    images: frozenset[str]
    series: frozenset[str]
    segments: Mapping[int, str]
    placed: tuple[Placement, ...] = ()
    most: int = 0

    def why_elsewhere(self, header: Header) -> str:
        """Why a frame does not lie where its image lies, in mm; '' where all do, or one of both does not
        say."""
        if not self.placed or len(header.placed) != 1:
            return ""
        (image,) = header.placed
        for frame, _ in self.frames_of.get(header.uid, ()):
            if furthest := apart_mm(self.placed[frame], image, header.size_hw):
                return (
                    f"mask lies {furthest:.1f} mm from its image by its own header (frame {frame} of "
                    f"{self.path.name})"
                )
        return ""


def apart_mm(mask: Placement, image: Placement, size_hw: tuple[int, int]) -> float:
    """How far the corners of a mask lie from those of its image of the same size; 0 where they lie
    within half a pixel."""
    away = _corners(mask, size_hw) - _corners(image, size_hw)
    furthest = float(np.linalg.norm(away, axis=1).max())
    return furthest if furthest > _ELSEWHERE * min(image.spacing_hw_mm) else 0.0


def _corners(placement: Placement, size_hw: tuple[int, int]) -> np.ndarray:
    """The middles of the four outermost pixels, (4, 3) in mm."""
    (row_mm, column_mm), (height, width) = placement.spacing_hw_mm, size_hw
    down = np.array(placement.down) * row_mm * (height - 1)
    across = np.array(placement.across) * column_mm * (width - 1)
    return np.array([i * down + j * across for i in (0, 1) for j in (0, 1)]) + placement.position


def read_segmentation(path: Path) -> Segmentation:
    """Which frame is a mask of which image (DICOM PS3.3 A.51). Raises: InputError where it does not
    say."""
    data = read_dataset(path, header_only=True)
    with naming_damage(path):
        segments = {
            int(each.SegmentNumber): str(each.get("SegmentLabel") or each.SegmentNumber)
            for each in data.get("SegmentSequence") or ()
        }
        referenced = list(data.get("ReferencedSeriesSequence") or ())
        series = frozenset(str(each.get("SeriesInstanceUID") or "") for each in referenced) - {""}
        images = {
            str(each.ReferencedSOPInstanceUID)
            for one in referenced
            for each in one.get("ReferencedInstanceSequence") or ()
        }
        shared = list(data.get("SharedFunctionalGroupsSequence") or ())
        frames_of: dict[str, list[tuple[int, int]]] = {}
        groups = list(data.get("PerFrameFunctionalGroupsSequence") or ())
        placed = placements_of(data, len(groups))
        shares = str(data.get("SegmentationType") or "") == "FRACTIONAL"
        most = int(data.get("MaximumFractionalValue") or 255) if shares else 0
        for frame, group in enumerate(groups):
            uids = _source_images(group)
            if not uids:
                raise FileError(path, f"does not say which image its frame {frame} is of")
            for uid in uids:
                frames_of.setdefault(uid, []).append((frame, _segment(group, shared)))
    if not frames_of:
        raise FileError(path, "is a segmentation that does not say of which images")
    return Segmentation(
        path,
        {uid: tuple(frames) for uid, frames in frames_of.items()},
        frozenset(images | frames_of.keys()),
        series,
        segments,
        placed,
        most,
    )


def _source_images(group: Any) -> list[str]:
    return [
        str(source.ReferencedSOPInstanceUID)
        for derived in group.get("DerivationImageSequence") or ()
        for source in derived.get("SourceImageSequence") or ()
    ]


def _segment(group: Any, shared: list[Any]) -> int:
    for each in (group, *shared):
        for found in each.get("SegmentIdentificationSequence") or ():
            return int(found.ReferencedSegmentNumber)
    return 0


@dataclasses.dataclass(frozen=True)
class SegmentationMask(OneFile):
    """The frames of a DICOM segmentation that belong to one image, united; without any, an empty mask
    of `size_hw`: somebody looked and marked nothing. `labels`: numbers of the segments that are
    lesion; None for all; with `INSTANCES` each is an object. `most`: as of `Segmentation`; pixels
    count from half of it on."""

    frames: tuple[tuple[int, int], ...]
    size_hw: tuple[int, int]
    labels: Labels = None
    most: int = 0

    @property
    def token(self) -> str:
        told = f"segmentation frames {self.frames} size {self.size_hw} labels {self.labels}"
        return f"{told} of {self.most}" if self.most else told

    def load(self) -> np.ndarray:
        if isinstance(self.labels, FindingValues):
            return np.stack(
                [dataclasses.replace(self, labels=values).load() for values in self.labels.values]
            )
        if self.labels == INSTANCES:
            return self._numbered()
        union = np.zeros(self.size_hw, dtype=bool)
        for frame, segment in self.frames:
            if isinstance(self.labels, tuple):
                if segment and segment not in self.labels:
                    continue
                values = self._values(frame)
                union |= self._inside(values) if segment else select_labels(values, self.labels)
            else:
                union |= self._inside(self._values(frame))
        return union

    def _numbered(self) -> np.ndarray:
        """Each segment an object of its own, from 1."""
        found: dict[int, np.ndarray] = {}
        for frame, segment in self.frames:
            values = self._values(frame)
            own = [segment] if segment else [int(value) for value in np.unique(values) if value]
            for number in own:
                marked = self._inside(values) if segment else values == number
                found[number] = marked | found[number] if number in found else marked
        return numbered_apart(list(found.values()), self.size_hw, self.path.name)

    def _values(self, frame: int) -> np.ndarray:
        values = read_pixels(self.path, frame, of_mask=True, in_colour=False)[1]
        if values.shape != self.size_hw:
            raise FileError(
                self.path,
                f"is {values.shape[1]}x{values.shape[0]}, image {self.size_hw[1]}x{self.size_hw[0]}",
                f"frame {frame} of ",
            )
        return values

    def _inside(self, values: np.ndarray) -> np.ndarray:
        found: np.ndarray = 2 * values.astype(np.int64) >= self.most if self.most else values > 0
        return found
