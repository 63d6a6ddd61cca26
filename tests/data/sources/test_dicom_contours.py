"""Contours (RTSTRUCT) and segments of DICOM files as masks."""

import numpy as np
import pytest
from PIL import Image
from support import dicom_series
from support.dicom_annotations import square, write_segmentation, write_structures
from support.dicom_series import voxels_of
from support.layouts import BOX, mask
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError
from meddistill.data.formats.dicom_contours import Contour, ContourMask
from meddistill.data.formats.dicom_placement import Placement
from meddistill.data.masks import read_mask
from meddistill.run.findings import read_findings
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


def test_a_label_map_with_a_palette_is_read_by_its_numbers(tmp_path, prepare):
    ramp = bytes(range(256))
    palette = {
        "PhotometricInterpretation": "PALETTE COLOR",
        **{
            f"{colour}PaletteColorLookupTable{part}": value
            for colour in ("Red", "Green", "Blue")
            for part, value in (("Descriptor", [256, 0, 8]), ("Data", ramp))
        },
    }
    drawn = np.stack([mask(1) + corner(4) * 2])
    source = segmented(tmp_path / "s", [2], drawn, segments=[0], names={1: "a", 2: "b"}, **palette)
    out, cases, reasons = prepare(source, label="2", **ALL_IN_TRAINING)
    assert reasons == {}
    assert list(boxes_of(out, cases).values()) == [[[20, 20, 24, 24]]]
    out, cases, _ = prepare(source, tmp_path / "b", findings=["b"], **ALL_IN_TRAINING)
    assert list(boxes_of(out, cases).values()) == [[[20, 20, 24, 24]]]


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
    told = "colours mean no structure of segmentations and contours; choose by number: 1 s1"
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
        {"uid_of": lambda uid: f"1.9{uid[3:]}"},  # made anonymous once more
    ],
)
def test_slices_of_contours_that_lie_on_none_are_unknown(tmp_path, prepare, more):
    _, cases, reasons = prepare(contoured(tmp_path / "s", **more), **ALL_IN_TRAINING)
    assert {case.annotation for case in cases.values()} == {"unknown"}
    assert list(reasons) == ["rt.dcm"]
    assert reasons["rt.dcm"].startswith("2 of its 2 contours lie on no image in the folder: all")


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


def two_patients(root, kind, names=("GTV", "Heart"), others=("heart", "gtv ")):
    """A left structure and a right one on the middle slice of each of two patients, of the numbers 1 and
    2 and called so."""
    for patient, called in (("p1", names), ("p2", others)):
        left, right = (1, 2) if patient == "p1" else (2, 1)
        folder = root / patient / "a"
        dicom_series.write_series(folder, voxels_of(shape=(24, 24)), PatientID=patient)
        if kind == "RTSTRUCT":
            contours = [(left, "IM0003", square(2, 2, 4)), (right, "IM0003", square(16, 2, 4))]
            write_structures(
                root / patient / "rt.dcm", folder, contours, names=dict(enumerate(called, start=1))
            )
        else:
            heads = [pydicom.dcmread(path) for path in sorted(folder.iterdir(), reverse=True)]
            write_segmentation(
                root / patient / "seg.dcm",
                str(heads[0].SeriesInstanceUID),
                [str(each.SOPInstanceUID) for each in heads],
                [2, 2],
                pixels=np.stack([at(2), at(16)]),
                segments=[left, right],
                names=dict(enumerate(called, start=1)),
            )
    return root


def at(left):
    found = np.zeros((24, 24), np.uint8)
    found[2:6, left : left + 4] = 1
    return found


LEFT, RIGHT = [2, 2, 6, 6], [16, 2, 20, 6]


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
def test_a_number_that_means_other_structures_elsewhere_stops(tmp_path, prepare, kind):
    source = two_patients(tmp_path / "s", kind)
    told = (
        r"structure 1 is 'GTV' in p1/\w+.dcm, 'heart' in p2/\w+.dcm: choose by name, such as --find"
    )
    for more in ({"label": "1"}, {"findings": ["GTV=1", "Heart=2"]}):
        with pytest.raises(InputError, match=told):
            prepare(source, **more, **ALL_IN_TRAINING)
    out, cases, _ = prepare(source, label="1", accept=["structures"], **ALL_IN_TRAINING)
    assert list(boxes_of(out, cases).values()) == [[LEFT], [RIGHT]]


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
def test_structures_are_chosen_by_name(tmp_path, prepare, kind):
    source = two_patients(tmp_path / "s", kind)
    out, cases, reasons = prepare(source, findings=["GTV"], **ALL_IN_TRAINING)
    assert (list(boxes_of(out, cases).values()), reasons) == ([[LEFT], [LEFT]], {})
    assert {case.annotation for case in cases.values()} == {"boxes", "none"}
    for number, findings in enumerate((["GTV", "Heart"], ["auto"])):
        out, cases, _ = prepare(
            source, tmp_path / f"{number}", findings=findings, **ALL_IN_TRAINING
        )
        boxed = [case for case in cases.values() if case.annotation == "boxes"]
        for case in boxed:
            found = as_planes_by_name(out, case)
            assert found["gtv"][3, 3], found["heart"][3, 17]
            assert not found["gtv"][3, 17], found["heart"][3, 3]


def as_planes_by_name(out, case):
    findings = read_findings(out)
    planes = findings.decode(np.array(Image.open(mask_path(out, case))))
    return {name.lower(): plane for name, plane in zip(findings.names, planes, strict=True)}


def test_a_patient_without_the_structure_is_unknown(tmp_path, prepare, capsys):
    source = two_patients(tmp_path / "s", "RTSTRUCT", others=("Heart", "Lung"))
    _, cases, _ = prepare(source, findings=["GTV"], **ALL_IN_TRAINING)
    found = {(case.source[:2], case.annotation) for case in cases.values()}
    assert found == {("p1", "boxes"), ("p1", "none"), ("p2", "unknown")}
    with pytest.raises(InputError, match=r"finding 'Hart' is the name of no .* mean 'Heart'"):
        prepare(source, tmp_path / "b", findings=["Hart"], **ALL_IN_TRAINING)
    with pytest.raises(InputError, match="finding 'Hart' has no box"):
        prepare(source, tmp_path / "c", findings=["GTV", "Hart"], **ALL_IN_TRAINING)
    assert (
        "finding 'Hart' is the name of no structure; did you mean 'Heart'?"
        in capsys.readouterr().err
    )


def test_a_number_of_no_structure_stops(tmp_path, prepare):
    with pytest.raises(InputError, match="no structure has the number 3; choose from 1 s1"):
        prepare(contoured(tmp_path / "s"), label="3", **ALL_IN_TRAINING)


def test_one_structure_may_get_another_name(tmp_path, prepare):
    out, cases, _ = prepare(contoured(tmp_path / "s"), findings=["tumour"], **ALL_IN_TRAINING)
    assert boxes_of(out, cases) == BOXED


def nested(root, kind, inner):
    """A structure `inner` inside the other one of 1 and 2, on the middle slice."""
    if kind == "RTSTRUCT":
        folder = root / "a"
        dicom_series.write_series(folder, voxels_of(shape=(24, 24)))
        contours = [(inner, "IM0003", square(8, 8, 4)), (3 - inner, "IM0003", square(4, 4, 12))]
        write_structures(root / "rt.dcm", folder, contours)
        return root
    drawn = np.zeros((2, 24, 24), np.uint8)
    drawn[0, 8:12, 8:12] = drawn[1, 4:16, 4:16] = 1
    names = {1: "s1", 2: "s2"}
    return segmented(root, [2, 2], drawn, segments=[inner, 3 - inner], names=names)


@pytest.mark.parametrize("kind", ["RTSTRUCT", "SEG"])
@pytest.mark.parametrize("inner", [1, 2])
def test_structures_of_other_numbers_may_overlap(tmp_path, prepare, kind, inner):
    source = nested(tmp_path / "s", kind, inner)
    findings = {"findings": ["s1=1", "s2=2"]}
    out, cases, _ = prepare(source, **findings, **ALL_IN_TRAINING)
    assert not read_findings(out).exclusive
    boxed = next(case for case in cases.values() if case.annotation == "boxes")
    planes = read_findings(out).decode(np.array(Image.open(mask_path(out, boxed))))
    assert [int(plane.sum()) for plane in planes] == ([16, 144] if inner == 1 else [144, 16])


def test_a_finding_below_one_that_excludes_it_is_not_lost_in_silence(tmp_path, prepare):
    settings = {"findings": ["s1=1", "s2=2"], "overlap": "exclusive", "accept": ["no-box"]}
    below = nested(tmp_path / "s", "SEG", 1)
    _, _, reasons = prepare(below, **settings, **ALL_IN_TRAINING)
    (reason,) = reasons.values()
    assert reason == (
        "findings exclude each other, but 's1' lies below others in 16 of 16 px: --set "
        "prepare.overlap=overlapping keeps both"
    )
    above = nested(tmp_path / "above", "SEG", 2)
    _, _, reasons = prepare(above, tmp_path / "b", **settings, **ALL_IN_TRAINING)
    assert reasons == {}


def test_contours_that_lie_elsewhere_make_another_mask(tmp_path):
    at = Placement((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0))
    one, other = (
        ContourMask(
            tmp_path,
            (Contour(1, "", ((x, 0.0, 0.0), (9.0, 0.0, 0.0), (9.0, 9.0, 0.0))),),
            at,
            (24, 24),
        )
        for x in (0.0, 1.0)
    )
    assert one.token != other.token
