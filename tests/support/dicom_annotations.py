"""DICOM segmentations and contours as other software writes them."""

import numpy as np
import pytest
from support.dicom_series import holding
from support.layouts import mask, write_dicom


def write_segmentation(
    path, series, uids, marked, frames_more=None, pixels=None, segments=(), names=None, **more
):
    """A SEG of `marked` (indices of slices), a frame each; `frames_more` gives further sequences of a
    frame by its slice's index; `segments`: the number of each frame's, else 1; `names` by number."""
    from pydicom.sequence import Sequence

    frames = [
        holding(
            DerivationImageSequence=Sequence(
                [holding(SourceImageSequence=Sequence([holding(ReferencedSOPInstanceUID=uids[n])]))]
            ),
            SegmentIdentificationSequence=Sequence([holding(ReferencedSegmentNumber=number)]),
            **(frames_more(n) if frames_more else {}),
        )
        for n, number in zip(marked, segments or [1] * len(marked), strict=True)
    ]
    instances = Sequence([holding(ReferencedSOPInstanceUID=uid) for uid in uids])
    write_dicom(
        path,
        np.stack([mask(1)] * len(marked)) if pixels is None else pixels,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4",
        SegmentSequence=Sequence(
            [
                holding(SegmentNumber=number, SegmentLabel=name)
                for number, name in (names or {1: "tumour"}).items()
            ]
        ),
        ReferencedSeriesSequence=Sequence(
            [holding(SeriesInstanceUID=series, ReferencedInstanceSequence=instances)]
        ),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
        **more,
    )


def write_structures(path, folder, contours, with_images=True, names=None, off_mm=0.0, uid_of=str):
    """An RTSTRUCT of `contours`: (structure, slice's file, px corners) each, as a planning system
    writes it; `names` by number; `off_mm`: how far they lie from their slices; `uid_of`: what becomes
    of the UID that a contour names."""
    from pydicom.sequence import Sequence

    pydicom = pytest.importorskip("pydicom")
    by_structure = {}
    for number, name, corners in contours:
        image = pydicom.dcmread(folder / name)
        along = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
        away = np.cross(*along) * off_mm
        row, column = image.PixelSpacing
        points = [
            np.array(image.ImagePositionPatient, float)
            + away
            + x * column * along[0]
            + y * row * along[1]
            for x, y in corners
        ]
        tags = {
            "ContourImageSequence": Sequence(
                [holding(ReferencedSOPInstanceUID=uid_of(image.SOPInstanceUID))]
            )
        }
        one = holding(
            ContourGeometricType="CLOSED_PLANAR",
            ContourData=[round(float(v), 4) for point in points for v in point],
            **(tags if with_images else {}),
        )
        by_structure.setdefault(number, []).append(one)
    series = holding(SeriesInstanceUID=pydicom.dcmread(folder / contours[0][1]).SeriesInstanceUID)
    study = holding(RTReferencedSeriesSequence=Sequence([series]))
    write_dicom(
        path,
        np.zeros((2, 2), np.uint16),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3",
        StructureSetROISequence=Sequence(
            [
                holding(ROINumber=number, ROIName=(names or {}).get(number, f"s{number}"))
                for number in by_structure
            ]
        ),
        ReferencedFrameOfReferenceSequence=Sequence(
            [holding(RTReferencedStudySequence=Sequence([study]))]
        ),
        ROIContourSequence=Sequence(
            [
                holding(ReferencedROINumber=number, ContourSequence=Sequence(own))
                for number, own in by_structure.items()
            ]
        ),
    )


def square(left, top, side):
    """Corners half a pixel outside: what they enclose is `side` px wide."""
    low, high = -0.4, side - 0.6
    return [(left + x, top + y) for x, y in ((low, low), (high, low), (high, high), (low, high))]
