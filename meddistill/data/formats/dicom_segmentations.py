"""DICOM segmentations: files whose frames are masks of other DICOM files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.dicom import naming_damage, read_dataset, read_pixels
from meddistill.data.masks import FindingValues, Labels, select_labels
from meddistill.data.raw_case import OneFile


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """A DICOM segmentation: by the UID of an image, which frames are masks of it, each with its
    segment; `images` and `series` are the UIDs of all that were looked at; `segments` their names by
    number."""

    path: Path
    frames_of: Mapping[str, tuple[tuple[int, int], ...]]
    images: frozenset[str]
    series: frozenset[str]
    segments: Mapping[int, str]


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
        for frame, group in enumerate(data.get("PerFrameFunctionalGroupsSequence") or ()):
            uids = _source_images(group)
            if not uids:
                raise InputError(f"{path.name} does not say which image its frame {frame} is of")
            for uid in uids:
                frames_of.setdefault(uid, []).append((frame, _segment(group, shared)))
    if not frames_of:
        raise InputError(f"{path.name} is a segmentation that does not say of which images")
    return Segmentation(
        path,
        {uid: tuple(frames) for uid, frames in frames_of.items()},
        frozenset(images | frames_of.keys()),
        series,
        segments,
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
    lesion; None for all."""

    frames: tuple[tuple[int, int], ...]
    size_hw: tuple[int, int]
    labels: Labels = None

    @property
    def token(self) -> str:
        return f"segmentation frames {self.frames} size {self.size_hw} labels {self.labels}"

    def load(self) -> np.ndarray:
        if isinstance(self.labels, FindingValues):
            return np.stack(
                [dataclasses.replace(self, labels=values).load() for values in self.labels.values]
            )
        union = np.zeros(self.size_hw, dtype=bool)
        for frame, segment in self.frames:
            values = read_pixels(self.path, frame)[1]
            if isinstance(self.labels, tuple):
                if segment and segment not in self.labels:
                    continue
                marked = values > 0 if segment else select_labels(values, self.labels)
            else:
                marked = values > 0
            if marked.shape != union.shape:
                raise InputError(
                    f"frame {frame} of {self.path.name} is {marked.shape[1]}x{marked.shape[0]}, "
                    f"image {self.size_hw[1]}x{self.size_hw[0]}"
                )
            union |= marked
        return union
