"""DICOM series as scanners write them: oblique, stored in any order, with all that a segmentation asks
for."""

import numpy as np
import pytest
from support.layouts import write_dicom

ACROSS, DOWN = np.array([0.8, 0.6, 0.0]), np.array([0.0, 0.0, -1.0])
STEP = np.cross(ACROSS, DOWN) * 2.5
ORIGIN = np.array([-30.0, 12.0, 40.0])
SPACING = (1.5, 0.75)  # row, column


def voxels_of(count=5, shape=(20, 30), dtype=np.uint16, value=3000):
    """Dark noise with a bright box (slices, H, W), which differs from slice to slice."""
    generator = np.random.default_rng(0)
    stack = generator.integers(0, 200, (count, *shape)).astype(dtype)
    for number in range(1, count - 1):
        stack[number, 4 : 8 + number, 5:12] = value
    return stack


def series_tags(pydicom, number, uid, **more):
    position = ORIGIN + number * STEP
    return {
        "PatientID": "SECRET-7",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "StudyInstanceUID": f"{uid}.1",
        "SeriesInstanceUID": f"{uid}.2",
        "FrameOfReferenceUID": f"{uid}.3",
        "StudyDate": "20260101",
        "StudyTime": "120000",
        "StudyID": "1",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "SeriesNumber": 1,
        "InstanceNumber": 100 - number,
        "Modality": "MR",
        "ImagePositionPatient": [float(value) for value in position],
        "ImageOrientationPatient": [*map(float, ACROSS), *map(float, DOWN)],
        "PixelSpacing": list(SPACING),
        "SliceThickness": 2.5,
        "WindowCenter": 1600,
        "WindowWidth": 3200,
        **more,
    }


def write_series(folder, stack, skip=(), **more):
    """One file a slice, named so that the names run against the positions; `skip`: those left out."""
    pydicom = pytest.importorskip("pydicom")
    uid = pydicom.uid.generate_uid()[:50].rstrip(".")
    for number, pixels in enumerate(stack):
        if number not in skip:
            tags = series_tags(pydicom, number, uid, **more)
            write_dicom(folder / f"IM{len(stack) - number:04d}", pixels, **tags)


def affine_of():
    """(4, 4) from (column, row, slice) to mm in RAS+."""
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = ACROSS * SPACING[1], DOWN * SPACING[0], STEP
    affine[:3, 3] = ORIGIN
    return np.diag([-1, -1, 1, 1]) @ affine


def holding(**tags):
    """A data set of these tags, for a sequence."""
    from pydicom.dataset import Dataset

    found = Dataset()
    for name, value in tags.items():
        setattr(found, name, value)
    return found


def write_enhanced(path, stack, slope=2, intercept=-100):
    """All slices in one enhanced file, the last first: where a frame lies in its own functional group,
    all else in the shared one; values become `slope` times the stored ones plus `intercept`."""
    pydicom = pytest.importorskip("pydicom")
    uid = pydicom.uid.generate_uid()[:50].rstrip(".")
    order = range(len(stack))[::-1]
    tags = series_tags(pydicom, 0, uid)
    window = {name: tags.pop(name) for name in ("WindowCenter", "WindowWidth")}
    across = {"ImageOrientationPatient": tags.pop("ImageOrientationPatient")}
    sides = {name: tags.pop(name) for name in ("PixelSpacing", "SliceThickness")}
    del tags["ImagePositionPatient"]
    frames = [
        holding(
            PlanePositionSequence=[
                holding(ImagePositionPatient=[float(value) for value in ORIGIN + number * STEP])
            ]
        )
        for number in order
    ]
    shared = holding(
        PlaneOrientationSequence=[holding(**across)],
        PixelMeasuresSequence=[holding(**sides)],
        PixelValueTransformationSequence=[
            holding(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")
        ],
        FrameVOILUTSequence=[holding(**window)],
    )
    write_dicom(
        path,
        np.stack([stack[number] for number in order]),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        PerFrameFunctionalGroupsSequence=frames,
        SharedFunctionalGroupsSequence=[shared],
        **tags,
    )
