"""DICOM as scanners and other software leave it."""

import numpy as np
import pytest
from PIL import Image
from support import dicom_series
from support.dicom_annotations import write_segmentation
from support.dicom_series import voxels_of
from support.layouts import BOX, SIZE, image, mask, write_dicom
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError
from meddistill.data.formats import dicom
from meddistill.data.sources.known_sources import choose_source
from meddistill.data.sources.source import SourceOptions
from meddistill.run.labels import annotated_boxes

pydicom = pytest.importorskip("pydicom")


def write_series(root, count=4):
    """Slices of one series; returns their UIDs."""
    uids = []
    series = pydicom.uid.generate_uid()
    for number in range(count):
        path = root / "ct" / f"s{number}.dcm"
        tags = {"PatientID": "p", "SeriesInstanceUID": series}
        write_dicom(path, image(number).astype(np.uint16) * 16, **tags)
        uids.append(pydicom.dcmread(path).SOPInstanceUID)
    return series, uids


def test_a_segmentation_gives_masks_to_the_slices_that_it_names(tmp_path, prepare):
    series, uids = write_series(tmp_path / "source")
    write_segmentation(tmp_path / "source" / "seg" / "1.dcm", series, uids, marked=[2, 1])
    out, cases, reasons = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    found = {case.source: case.annotation for case in cases.values()}
    assert found == {
        "ct/s0.dcm": "none",  # looked at
        "ct/s1.dcm": "boxes",
        "ct/s2.dcm": "boxes",
        "ct/s3.dcm": "none",
    }
    boxed = [case for case in cases.values() if case.annotation == "boxes"]
    assert [annotated_boxes(out, case).tolist() for case in boxed] == [[BOX], [BOX]]
    assert reasons == {}


def test_a_segmentation_of_images_that_are_not_there_is_said(tmp_path, prepare):
    series, uids = write_series(tmp_path / "source")
    write_segmentation(tmp_path / "source" / "seg" / "1.dcm", series, uids, marked=[0, 3])
    (tmp_path / "source" / "ct" / "s3.dcm").unlink()
    _, _, reasons = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert reasons == {"seg/1.dcm": "1 of its 2 images are not in the folder"}


@pytest.mark.parametrize("kept", [0, 1])
def test_images_that_got_other_uids_than_their_segmentation_names_are_unknown(
    tmp_path, prepare, kept
):
    series, uids = write_series(tmp_path / "source")
    old = [uid if number < kept else f"1.9{uid[3:]}" for number, uid in enumerate(uids)]
    write_segmentation(tmp_path / "source" / "seg" / "1.dcm", series, old, marked=[0, 2])
    _, cases, reasons = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert reasons == {"seg/1.dcm": f"{2 - kept} of its 2 images are not in the folder"}
    found = [case.annotation for case in cases.values()]
    assert sorted(found) == ["boxes"] * kept + ["unknown"] * (4 - kept)


def test_segmentations_are_chosen_with_masks(tmp_path, prepare):
    series, uids = write_series(tmp_path / "source")
    for name, slices in (("a", [1]), ("b", [2, 3])):
        write_segmentation(tmp_path / "source" / "seg" / f"{name}.dcm", series, uids, slices)
    with pytest.raises(InputError, match=r"2 segmentations speak of it: a\.dcm, b\.dcm; choose"):
        prepare(tmp_path / "source", **ALL_IN_TRAINING)
    _, cases, _ = prepare(tmp_path / "source", masks="seg/b.dcm", **ALL_IN_TRAINING)
    assert sorted(case.annotation for case in cases.values()) == ["boxes", "boxes", "none", "none"]


def test_boxes_over_dicom_fit_the_size_that_their_file_states(tmp_path, prepare):
    write_series(tmp_path / "source", 2)
    boxes = tmp_path / "boxes.csv"

    def boxed(rows, **settings):
        boxes.write_text("\n".join(rows) + "\n")
        return prepare(tmp_path / "source", boxes=str(boxes), **ALL_IN_TRAINING, **settings)

    halved = ["image,width,height,x1,y1,x2,y2", "s0.dcm,12,12,2,3,5,6"]
    with pytest.raises(InputError, match="boxes are for a picture of 12x12 px, it has 24x24"):
        boxed(halved)
    out, cases, _ = boxed(halved, fit_boxes="auto")
    first = next(case for case in cases.values() if case.source == "ct/s0.dcm")
    assert annotated_boxes(out, first).tolist() == [[4, 6, 10, 12]]
    out, _, _ = boxed(["patientId,x,y,width,height", "s0,0.25,0.5,0.25,0.125"], overwrite=True)
    assert annotated_boxes(out, first).tolist() == [[6, 12, 12, 15]]


def test_contours_are_no_image(tmp_path, prepare):
    write_series(tmp_path / "source")
    contours = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.481.3"}
    write_dicom(tmp_path / "source" / "rt.dcm", image(9).astype(np.uint16), **contours)
    _, cases, _ = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert len(cases) == 4


@pytest.mark.parametrize("name", ["IM000001", "1.2.3.4"])
def test_files_need_neither_ending_nor_mark(tmp_path, name, prepare):
    write_dicom(tmp_path / "whole.dcm", image(1).astype(np.uint16) * 16)
    (tmp_path / "source").mkdir()
    content = (tmp_path / "whole.dcm").read_bytes()
    (tmp_path / "source" / name).write_bytes(content)
    data = pydicom.dcmread(tmp_path / "whole.dcm")
    del data.file_meta
    data.preamble = None
    data.save_as(tmp_path / "source" / "bare", implicit_vr=False, little_endian=True)
    assert (tmp_path / "source" / "bare").read_bytes()[:2] == b"\x08\0"
    assert choose_source("auto", tmp_path / "source")[0].name == "dicom"
    _, cases, reasons = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert len(cases) == 2
    assert {(case.width, case.height) for case in cases.values()} == {(SIZE, SIZE)}
    assert reasons == {}


def placed(root, patient, heights, series="1.2.3", **more):
    """A series whose files are called against the order in which they lie."""
    for number, height in enumerate(heights):
        write_dicom(
            root / patient / f"im{len(heights) - number}.dcm",
            image(number).astype(np.uint16) * 16,
            PatientID=patient,
            SeriesInstanceUID=series,
            PixelSpacing=[0.7, 0.9],
            ImagePositionPatient=[0.0, 0.0, float(height)],
            ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            **more,
        )


def test_a_series_is_a_volume_in_the_order_of_its_places(tmp_path, prepare):
    placed(tmp_path / "s", "p1", [0.0, 2.5, 5.0, 7.5])
    placed(tmp_path / "s", "p2", [0.0, 3.0], series="1.2.4")
    _, cases, _ = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert sorted((case.volume, case.slice, case.source) for case in cases.values()) == [
        ("p1", 0, "p1/im4.dcm"),
        ("p1", 1, "p1/im3.dcm"),
        ("p1", 2, "p1/im2.dcm"),
        ("p1", 3, "p1/im1.dcm"),
        ("p2", 0, "p2/im2.dcm"),
        ("p2", 1, "p2/im1.dcm"),
    ]


def test_what_is_uneven_or_lies_at_one_place_is_said(tmp_path, prepare, capsys):
    placed(tmp_path / "s", "p1", [0.0, 2.0, 4.0, 8.0])
    placed(tmp_path / "s", "p2", [0.0, 0.0, 3.0], series="1.2.4")
    _, cases, _ = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert {case.volume for case in cases.values()} == {"p1", ""}
    told = capsys.readouterr().err
    assert "the series of p1/im4.dcm lacks a slice between 4.0 and 8.0 mm" in told
    assert "has 1 slice at the place of another" in told


def test_masks_in_a_folder_of_another_name_are_told_by_names(tmp_path, prepare):
    placed(tmp_path / "s" / "CT", "p1", [0.0, 2.5])
    for number in (1, 2):
        path = tmp_path / "s" / "Ground" / "p1" / f"im{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask()).save(path)
    out, cases, reasons = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert reasons == {}
    assert [annotated_boxes(out, case).tolist() for case in cases.values()] == [[BOX], [BOX]]


def test_dicom_masks_of_no_image_stop_and_are_no_images(tmp_path, prepare):
    placed(tmp_path / "s" / "PATIENT_DICOM", "p1", [0.0, 2.5])
    drawn = mask().astype(np.uint16)
    write_dicom(tmp_path / "s" / "MASKS_DICOM" / "liver" / "q7.dcm", drawn, PatientID="p1")
    with pytest.raises(InputError, match="1 of 1 masks have no image"):
        prepare(tmp_path / "s", **ALL_IN_TRAINING)


def test_slices_know_their_volume_by_position_and_patients_have_no_names(tmp_path, prepare):
    stack = voxels_of()
    dicom_series.write_series(tmp_path / "s" / "a", stack)
    dicom_series.write_series(tmp_path / "s" / "b", stack[:4], skip=(2,))
    out, cases, reasons = prepare(tmp_path / "s", test_fraction=0.0, val_fraction=0.0)
    assert reasons == {}
    first = sorted((c for c in cases.values() if c.volume == "a"), key=lambda case: case.slice)
    # Their names run against their positions.
    assert [case.source for case in first] == [f"a/IM{5 - n:04d}" for n in range(5)]
    assert {case.spacing_3d_mm for case in first} == {(2.5, 1.5, 0.75)}
    holed = [case for case in cases.values() if case.volume == "b"]
    assert [case.slice_mm for case in holed] == [None] * 3
    groups = {case.group for case in cases.values()}
    assert len(groups) == 1
    assert groups.pop().startswith("patient-")
    told = "".join(
        path.read_text() for path in out.rglob("*.*") if path.suffix in (".csv", ".json", ".html")
    )
    assert "SECRET" not in told
    assert "Doe" not in told
    again, _, _ = prepare(tmp_path / "s", tmp_path / "again", test_fraction=0.0, val_fraction=0.0)
    assert (again / "cases.csv").read_bytes() == (out / "cases.csv").read_bytes()
    dicom_series.write_series(tmp_path / "s" / "c", stack)
    _, more, _ = prepare(tmp_path / "s", test_fraction=0.0, val_fraction=0.0, update=True)
    assert {case.group for case in more.values()} == {cases[first[0].case_id].group}


def test_a_copy_of_a_slice_and_one_that_is_not_there_yet_are_named(tmp_path, prepare):
    dicom_series.write_series(tmp_path / "s" / "a", voxels_of())
    (tmp_path / "s" / "a" / "IM0004 copy").write_bytes(
        (tmp_path / "s" / "a" / "IM0004").read_bytes()
    )
    (tmp_path / "s" / "a" / "IM0005").write_bytes(b"")
    _, cases, reasons = prepare(tmp_path / "s", test_fraction=0.0, val_fraction=0.0)
    assert sorted(case.slice for case in cases.values()) == [0, 1, 2, 3]
    assert reasons == {"a/IM0004 copy": "it is a/IM0004 once more", "a/IM0005": "is empty"}


def test_an_update_keeps_patients_also_where_masks_are_read_by_values(tmp_path, prepare):
    def write(name):
        dicom_series.write_series(tmp_path / "s" / name, voxels_of())
        drawn = np.zeros((20, 30), np.uint8)
        drawn[3:9, 4:12], drawn[12:17, 15:25] = 1, 2
        for number in range(1, 6):
            path = tmp_path / "s" / "masks" / name / f"IM{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn).save(path)

    write("a")
    _, first, _ = prepare(tmp_path / "s", test_fraction=0.0, val_fraction=0.0)
    assert {case.n_boxes for case in first.values()} == {2}
    write("c")
    _, both, _ = prepare(tmp_path / "s", test_fraction=0.0, val_fraction=0.0, update=True)
    assert len(both) == 10
    assert len({case.group for case in both.values()}) == 1


def test_names_may_be_kept(tmp_path, prepare):
    dicom_series.write_series(tmp_path / "s" / "a", voxels_of())
    _, cases, _ = prepare(tmp_path / "s", keep_names=True, test_fraction=0.0, val_fraction=0.0)
    assert {case.group for case in cases.values()} == {"SECRET-7"}


def groups_of(root, patients, **options):
    """The group of a file of each PatientID, of a study of its own each; and what is said."""
    for number, patient in enumerate(patients):
        pixels = image(number).astype(np.uint16) * 16
        tags = {"PatientID": patient, "StudyInstanceUID": f"1.2.{number}"}
        write_dicom(root / f"{number:02}.dcm", pixels, **tags)
    found = choose_source("dicom", root)[0].list_cases(root, SourceOptions(**options))
    return [case.group for case in found.cases], found.notes[0]


@pytest.mark.parametrize(
    ("patients", "groups", "said"),
    [
        (["removed"] * 4, 4, "a PatientID that is 'removed', which names nobody"),  # INbreast
        (["Anonymous", "anon", "None ", "p1", "p1"], 4, "3 files have a PatientID that is"),
        (["0"] * 3, 3, "that is the same in all studies"),
        (["0", "0", "1"], 2, ""),
        (["p1"] * 9, 1, ""),  # may be one patient, seen nine times
        (["p1"] * 10, 10, "that is the same in all studies"),
        (["p1"] * 10 + ["p2"], 2, ""),
    ],
)
def test_a_patient_id_that_names_nobody_gives_way_to_the_study(tmp_path, patients, groups, said):
    found, note = groups_of(tmp_path, patients)
    assert len(set(found)) == groups
    assert said in note if said else "nobody" not in note
    assert "p1" not in note
    assert not any("1.2." in group for group in found)
    kept, _ = groups_of(tmp_path, patients, keep_names=True)
    assert len(set(kept)) == groups


def segmented_elsewhere(tmp_path, away, **more):
    """A placed series and a SEG whose frames lie `away` mm from it."""
    folder = tmp_path / "s" / "a"
    stack = voxels_of(shape=(SIZE, SIZE))
    dicom_series.write_series(folder, stack)
    files = sorted(folder.iterdir(), reverse=True)  # names run against the positions
    heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]

    def where(number):
        at = np.array([float(value) for value in heads[number].ImagePositionPatient]) + away
        return {
            "PlanePositionSequence": [
                dicom_series.holding(ImagePositionPatient=[float(f"{value:.4f}") for value in at])
            ],
            "PlaneOrientationSequence": [
                dicom_series.holding(ImageOrientationPatient=heads[0].ImageOrientationPatient)
            ],
            "PixelMeasuresSequence": [dicom_series.holding(PixelSpacing=heads[0].PixelSpacing)],
        }

    uids = [str(each.SOPInstanceUID) for each in heads]
    series = str(heads[0].SeriesInstanceUID)
    write_segmentation(tmp_path / "s" / "seg.dcm", series, uids, [1, 2], where, **more)
    return tmp_path / "s"


def test_a_segmentation_lies_on_its_image_or_is_refused_in_millimetres(tmp_path, prepare):
    source = segmented_elsewhere(tmp_path, np.zeros(3))
    _, cases, reasons = prepare(source, **ALL_IN_TRAINING)
    assert reasons == {}
    assert sorted(case.annotation for case in cases.values()) == ["boxes"] * 2 + ["none"] * 3
    source = segmented_elsewhere(tmp_path / "moved", dicom_series.ACROSS * 3)
    told = "mask lies 3.0 mm from its image by its own header"
    with pytest.raises(InputError, match=told):
        prepare(source, tmp_path / "out", **ALL_IN_TRAINING)
    _, cases, reasons = prepare(source, tmp_path / "taken", accept=["moved"], **ALL_IN_TRAINING)
    assert reasons == {}


def test_a_segmentation_is_read_once_for_all_slices(tmp_path, monkeypatch):
    source = segmented_elsewhere(tmp_path, np.zeros(3))
    cases = choose_source("dicom", source)[0].list_cases(source, SourceOptions()).cases
    read = []
    whole = dicom.read_dataset
    monkeypatch.setattr(dicom, "read_dataset", lambda path: read.append(path.name) or whole(path))
    for case in cases:
        case.mask.load()
        case.image.load()
    assert sorted(read) == [*(f"IM{number:04}" for number in range(1, 6)), "seg.dcm"]


def test_shares_of_a_pixel_count_from_the_half_on(tmp_path, prepare):
    shares = (np.stack([mask(1)] * 2) * 60).astype(np.uint8)
    shares[:, 0, 0] = 49  # of 100
    source = segmented_elsewhere(
        tmp_path,
        np.zeros(3),
        pixels=shares,
        SegmentationType="FRACTIONAL",
        MaximumFractionalValue=100,
    )
    out, cases, _ = prepare(source, **ALL_IN_TRAINING)
    boxed = [case for case in cases.values() if case.annotation == "boxes"]
    assert [annotated_boxes(out, case).tolist() for case in boxed] == [[BOX], [BOX]]


def test_patients_whose_series_has_no_name_stay_apart(tmp_path, prepare):
    placed(tmp_path / "s", "p1", [0.0, 2.5, 5.0], series="")
    placed(tmp_path / "s", "p2", [7.5, 10.0, 12.5], series="")
    for name in ("p3", "p4"):  # of one UID for all
        start = 20.0 if name == "p3" else 30.0
        placed(tmp_path / "s", name, [start, start + 2.5], series="1.2")
    _, cases, _ = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    found = {(case.volume, case.source.split("/")[0]) for case in cases.values()}
    assert found == {(name, name) for name in ("p1", "p2", "p3", "p4")}


@pytest.mark.parametrize("uid", [None, "1.2.3.4"])
def test_slices_of_one_uid_are_those_of_their_places(tmp_path, prepare, uid):
    placed(tmp_path / "s", "p1", [0.0, 2.5, 5.0], series="1.2")
    for path in (tmp_path / "s" / "p1").iterdir():
        data = pydicom.dcmread(path)
        if uid is None:
            del data.SOPInstanceUID
        else:
            data.SOPInstanceUID = uid
        data.save_as(path)
    _, cases, _ = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert sorted((case.volume, case.slice) for case in cases.values()) == [
        ("p1", number) for number in range(3)
    ]


PRIVATE = b"\x27\0\x10\0LO\x08\0ACMEPRIV\x27\0\x01\x10"


@pytest.mark.parametrize("element", [b"LO\x03\0abc", b"DS\x04\0x\\yz", b"US\x03\0abc"])
def test_private_tags_that_are_odd_take_nothing_from_the_image(tmp_path, element):
    path = tmp_path / "odd.dcm"
    write_dicom(path, image(1).astype(np.uint16))
    path.write_bytes(_with_private(path.read_bytes(), element))
    (found,) = dicom.frames_of(path)
    assert found.load().pixels.shape == image(1).shape


@pytest.mark.parametrize("element", [b"LO\xff\x0fabc", b"LO\x02\0abcdef", b"??\x04\0abcd"])
def test_a_private_tag_of_a_wrong_length_is_named_as_damage(tmp_path, element):
    path = tmp_path / "odd.dcm"
    write_dicom(path, image(1).astype(np.uint16))
    path.write_bytes(_with_private(path.read_bytes(), element))
    with pytest.raises(InputError, match=r"odd\.dcm holds no image: .*damaged.*private tag"):
        dicom.frames_of(path)


def _with_private(content, element):
    before_group_28 = content.index(b"\x28\0\x02\0US")
    return content[:before_group_28] + PRIVATE + element + content[before_group_28:]


def test_a_rescale_that_was_emptied_is_not_said(tmp_path):
    path = tmp_path / "blank.dcm"
    write_dicom(path, image(1).astype(np.uint16), RescaleSlope=None, RescaleIntercept=None)
    (found,) = dicom.frames_of(path)
    np.testing.assert_array_equal(found.load().pixels, image(1))
