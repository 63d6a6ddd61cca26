"""Contours (RTSTRUCT) and segments of DICOM files as masks."""

import numpy as np
import pytest
from support import dicom_series
from support.dicom_annotations import square, write_segmentation, write_structures
from support.dicom_series import voxels_of
from support.layouts import BOX, mask
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError
from meddistill.data.masks import read_mask
from meddistill.run.labels import annotated_boxes
from meddistill.run.true_masks import mask_path

pydicom = pytest.importorskip("pydicom")


@pytest.mark.parametrize("with_images", [True, False])
def test_contours_are_masks_of_the_slices_that_they_lie_on(tmp_path, prepare, with_images):
    dicom_series.write_series(tmp_path / "s" / "a", voxels_of())
    contours = [
        (1, "IM0003", square(4, 5, 9)),
        (1, "IM0003", square(7, 8, 3)),  # a hole
        (2, "IM0003", square(20, 3, 5)),
        (2, "IM0002", square(20, 3, 5)),
    ]
    write_structures(tmp_path / "s" / "rt.dcm", tmp_path / "s" / "a", contours, with_images)
    out, cases, reasons = prepare(tmp_path / "s", label="1", test_fraction=0.0, val_fraction=0.0)
    assert reasons == {}
    by_source = {case.source: case for case in cases.values()}
    assert {case.annotation for case in cases.values()} == {"boxes", "none"}
    found = read_mask(mask_path(out, by_source["a/IM0003"]))
    expected = np.zeros((20, 30), bool)
    expected[5:14, 4:13] = True
    expected[8:11, 7:10] = False
    np.testing.assert_array_equal(found, expected)
    assert not read_mask(mask_path(out, by_source["a/IM0002"])).any()  # of another structure
    out, both, _ = prepare(
        tmp_path / "s",
        tmp_path / "both",
        findings=["first=1", "second=2"],
        test_fraction=0.0,
        val_fraction=0.0,
    )
    assert sorted(case.n_boxes for case in both.values()) == [0, 0, 0, 1, 2]


def segmented(root, marked, pixels, **more):
    """A series of 24x24 px in `a`, and a SEG of it: `marked` are the slices of its frames."""
    folder = root / "a"
    dicom_series.write_series(folder, voxels_of(shape=(24, 24)))
    heads = [pydicom.dcmread(path) for path in sorted(folder.iterdir(), reverse=True)]
    uids = [str(each.SOPInstanceUID) for each in heads]
    series = str(heads[0].SeriesInstanceUID)
    write_segmentation(root / "seg.dcm", series, uids, marked, pixels=pixels, **more)
    return root


def corner(side):
    found = np.zeros((24, 24), np.uint8)
    found[-side:, -side:] = 1
    return found


def boxes_of(out, cases):
    """Boxes of the annotated slices by file."""
    boxed = [case for case in cases.values() if case.annotation == "boxes"]
    return {case.source: sorted(annotated_boxes(out, case).tolist()) for case in boxed}


def test_instances_are_the_segments(tmp_path, prepare):
    drawn = np.stack([mask(1), corner(4)])
    source = segmented(tmp_path / "s", [2, 2], drawn, segments=[1, 2], names={1: "a", 2: "b"})
    out, cases, reasons = prepare(source, label="instances", **ALL_IN_TRAINING)
    assert reasons == {}
    assert list(boxes_of(out, cases).values()) == [sorted([BOX, [20, 20, 24, 24]])]


def test_instances_are_the_structures_unless_they_overlap(tmp_path, prepare):
    folder = tmp_path / "s" / "a"
    dicom_series.write_series(folder, voxels_of())
    touching = [(1, "IM0003", square(4, 5, 4)), (2, "IM0003", square(8, 5, 4))]
    nested = [(1, "IM0002", square(4, 5, 9)), (2, "IM0002", square(6, 7, 2))]
    write_structures(tmp_path / "s" / "rt.dcm", folder, touching + nested)
    out, cases, reasons = prepare(tmp_path / "s", label="instances", **ALL_IN_TRAINING)
    assert boxes_of(out, cases) == {"a/IM0003": [[4, 5, 8, 9], [8, 5, 12, 9]]}
    assert list(reasons) == ["a/IM0002"]
    assert "rt.dcm holds structures that overlap" in reasons["a/IM0002"]


def test_colours_are_refused(tmp_path, prepare):
    folder = tmp_path / "s" / "a"
    dicom_series.write_series(folder, voxels_of())
    write_structures(tmp_path / "s" / "rt.dcm", folder, [(1, "IM0003", square(4, 5, 4))])
    told = "colours mean no structure of DICOM SEG and RTSTRUCT files; choose by number: 1 s1"
    for more in ({"label": "#ff0000"}, {"findings": ["a=#ff0000", "b=#00ff00"]}):
        with pytest.raises(InputError, match=told):
            prepare(tmp_path / "s", **more, **ALL_IN_TRAINING)


def contoured(root, **more):
    """A series of five slices, 2.5 mm apart, and contours on the third and the fourth."""
    folder = root / "a"
    dicom_series.write_series(folder, voxels_of())
    contours = [(1, "IM0003", square(4, 5, 9)), (1, "IM0002", square(4, 5, 9))]
    write_structures(root / "rt.dcm", folder, contours, **more)
    return root


BOXED = {"a/IM0003": [[4, 5, 13, 14]], "a/IM0002": [[4, 5, 13, 14]]}


@pytest.mark.parametrize("off_mm", [-1.0, 0.4, 1.2])
def test_contours_lie_on_the_nearest_slice(tmp_path, prepare, off_mm):
    source = contoured(tmp_path / "s", with_images=False, off_mm=off_mm)
    out, cases, reasons = prepare(source, **ALL_IN_TRAINING)
    assert (boxes_of(out, cases), reasons) == (BOXED, {})


@pytest.mark.parametrize(
    "more",
    [
        {"with_images": False, "off_mm": 1.25},  # half the way to the next
        {"with_images": False, "off_mm": 90.0},
        {"uid_of": lambda uid: f"{uid}.9"},  # made anonymous once more
    ],
)
def test_slices_of_contours_that_lie_on_none_are_unknown(tmp_path, prepare, more):
    _, cases, reasons = prepare(contoured(tmp_path / "s", **more), **ALL_IN_TRAINING)
    assert {case.annotation for case in cases.values()} == {"unknown"}
    assert list(reasons) == ["rt.dcm"]
    assert reasons["rt.dcm"].startswith("2 contours lie on no image in the folder, 0 do")


def test_contours_of_a_slice_that_was_left_out_are_told_of(tmp_path, prepare):
    source = contoured(tmp_path / "s")
    (source / "a" / "IM0002").unlink()
    out, cases, reasons = prepare(source, **ALL_IN_TRAINING)
    assert boxes_of(out, cases) == {"a/IM0003": [[4, 5, 13, 14]]}
    assert reasons == {"rt.dcm": "1 of its 2 images are not in the folder"}


def test_contours_of_other_images_are_told_of(tmp_path, prepare):
    source = contoured(tmp_path / "s")
    for path in (source / "a").iterdir():
        path.unlink()
    dicom_series.write_series(source / "a", voxels_of())
    _, cases, reasons = prepare(source, **ALL_IN_TRAINING)
    assert {case.annotation for case in cases.values()} == {"unknown"}
    assert reasons == {"rt.dcm": "speaks of no image in the folder"}


@pytest.mark.parametrize(
    ("more", "mm"), [({"off_mm": 54.0}, "54.0"), ({"beside_px": 400}, "280.6")]
)
def test_contours_lie_on_the_image_that_they_name_or_it_is_refused(tmp_path, prepare, more, mm):
    beside = more.pop("beside_px", 0)
    folder = tmp_path / "s" / "a"
    dicom_series.write_series(folder, voxels_of())
    contours = [(1, "IM0003", square(4, 5, 9)), (1, "IM0002", square(4 + beside, 5, 9))]
    write_structures(tmp_path / "s" / "rt.dcm", folder, contours, **more)
    told = rf"mask lies {mm} mm from its image by its own header \(a contour of rt.dcm\); --accept moved"
    with pytest.raises(InputError, match=told):
        prepare(tmp_path / "s", **ALL_IN_TRAINING)
    _, cases, reasons = prepare(tmp_path / "s", accept=["moved"], **ALL_IN_TRAINING)
    assert {case.annotation for case in cases.values()} == {"boxes", "none"}
    assert reasons == {}


def test_contours_of_other_structures_may_lie_anywhere(tmp_path, prepare):
    folder = tmp_path / "s" / "a"
    dicom_series.write_series(folder, voxels_of())
    contours = [(1, "IM0003", square(4, 5, 9)), (2, "IM0002", square(400, 5, 9))]
    write_structures(tmp_path / "s" / "rt.dcm", folder, contours)
    out, cases, reasons = prepare(tmp_path / "s", label="1", **ALL_IN_TRAINING)
    assert boxes_of(out, cases) == {"a/IM0003": [[4, 5, 13, 14]]}
    assert reasons == {}
