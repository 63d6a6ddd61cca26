"""DICOM segmentations, written. The only module that uses highdicom."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import meddistill
from meddistill.base.errors import in_one_line
from meddistill.base.files import atomic_path
from meddistill.data.findings import Colour, Findings
from meddistill.data.formats.dicom import read_dataset
from meddistill.data.formats.dicom_series import Series

_ROOT = "2.25."
"""Of UIDs that are a number of 128 bits (DICOM PS3.5 B.2)."""
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "SliceThickness"),
)
"""What a file must have but may leave without a value (type 2); who makes files anonymous often takes it
out."""


def write_segmentation(path: Path, series: Series, planes: np.ndarray, findings: Findings) -> str:
    """Write masks as a binary segmentation with a segment a finding, whole or not at all; returns why
    there is none, else ''.

    The same masks of the same series give the same UIDs. Patient and study are the series' own, as
    the standard wants them.

    Args:
        path: the file to write.
        series: that the masks are of.
        planes: bool (slices, C, H, W), in the order of `series.frames`.
        findings: their names, and the colours that somebody chose.
    """
    try:
        import highdicom
    except ImportError:
        return "it needs highdicom: pip install 'meddistill[dicom]'"
    try:
        sources, pixels = _sources(series, planes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = highdicom.seg.Segmentation(
                source_images=sources,
                pixel_array=pixels,
                segmentation_type="BINARY",
                segment_descriptions=_descriptions(highdicom, findings),
                series_instance_uid=_uid("series", series, planes),
                series_number=9001,
                sop_instance_uid=_uid("instance", series, planes),
                instance_number=1,
                manufacturer="MedDistill",
                manufacturer_model_name="meddistill",
                software_versions=meddistill.__version__,
                device_serial_number="0",
                series_description="MedDistill, research use",
                omit_empty_frames=bool(planes.any()),
            )
    # highdicom asks for what many exports lack, and says so in its own ways.
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"the series does not allow it: {in_one_line(error)}"
    with atomic_path(path) as temporary:
        made.save_as(temporary)
    return ""


def _sources(series: Series, planes: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """The files of a series without their pixels, and a mask (frames, H, W, C) for each of their
    frames."""
    sources = [_completed(read_dataset(path, header_only=True)) for path in series.files]
    pixels = np.ascontiguousarray(np.moveaxis(planes, 1, -1)).astype(np.uint8)
    if len(sources) == 1:  # one file of many frames, in its own order
        count = int(sources[0].NumberOfFrames)
        whole = np.zeros((count, *pixels.shape[1:]), np.uint8)
        for place, each in enumerate(series.frames):
            whole[each.frame] = pixels[place]
        pixels = whole
    return sources, pixels


def _completed(data: Any) -> Any:
    """A data set as highdicom wants it: with an empty value in place of what may be empty, and texts of
    several character sets, as Japanese files have them, in Unicode."""
    for name in _MAY_BE_EMPTY:
        if name not in data:
            setattr(data, name, None)
    if not isinstance(data.get("SpecificCharacterSet") or "", str):
        data.decode()
        data.SpecificCharacterSet = "ISO_IR 192"
    return data


def _descriptions(highdicom: Any, findings: Findings) -> list[Any]:
    code = highdicom.sr.CodedConcept
    tissue = code("85756007", "SCT", "Tissue")
    abnormal = code("49755003", "SCT", "Morphologically Abnormal Structure")
    kind = (abnormal, abnormal) if findings.is_one else (tissue, tissue)
    return [
        highdicom.seg.SegmentDescription(
            segment_number=place + 1,
            segment_label=name[:64],
            display_color=_display_colour(highdicom, findings.chosen_colours.get(name)),
            segmented_property_category=kind[0],
            segmented_property_type=kind[1],
            algorithm_type="AUTOMATIC",
            algorithm_identification=highdicom.AlgorithmIdentificationSequence(
                name="MedDistill student",
                version=meddistill.__version__,
                family=code("123109", "DCM", "Artificial Intelligence"),
            ),
        )
        for place, name in enumerate(findings.names)
    ]


def _display_colour(highdicom: Any, colour: Colour | None) -> Any:
    """As a viewer is asked to show a segment; None where nobody chose a colour."""
    return None if colour is None else highdicom.color.CIELabColor.from_rgb(*colour)


def _uid(what: str, series: Series, planes: np.ndarray) -> str:
    digest = hashlib.sha256(what.encode())
    for each in series.frames:
        digest.update(f"{each.uid} {each.frame}".encode())
    digest.update(np.packbits(planes).tobytes())
    return _ROOT + str(int.from_bytes(digest.digest()[:16]))
