"""Each layout on a miniature of the real one: what is listed, and what comes out of `prepare`."""

import json
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image
from support.layouts import (
    BOX,
    MAKERS,
    SIZE,
    image,
    make_boxes_csv,
    make_busi,
    make_coco,
    make_cvc,
    make_dicom,
    make_figshare,
    make_folder,
    make_isic,
    make_lgg,
    make_nifti,
    make_voc,
    make_yolo,
    mask,
    save,
    volume,
    write_dicom,
)
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.formats.volume_slices import slices_of
from meddistill.data.masks import read_mask
from meddistill.data.sources.known_sources import SOURCES, choose_source
from meddistill.data.sources.source import SourceOptions
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_boxes
from meddistill.run.true_masks import mask_path


@pytest.fixture
def prepare(prepare):
    """With every case in training."""
    return partial(prepare, **ALL_IN_TRAINING)


def boxes_of(out, case):
    return annotated_boxes(out, case).tolist()


def test_every_layout_has_a_miniature():
    assert set(SOURCES) == set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_the_layout_is_recognised_and_no_other_fits(tmp_path, name):
    MAKERS[name](tmp_path / "source")
    source, reason = choose_source("auto", tmp_path / "source")
    assert source.name == name
    assert reason


@pytest.mark.parametrize("name", MAKERS)
def test_the_lesion_of_the_first_case_is_where_it_was_drawn(tmp_path, name, prepare):
    MAKERS[name](tmp_path / "source")
    out, cases, reasons = prepare(tmp_path / "source", min_area_px=4)
    assert reasons == {}
    annotated = [case for case in cases.values() if case.annotation == "boxes"]
    assert annotated
    for case in annotated:
        assert BOX in boxes_of(out, case)
        assert (case.height, case.width) == (SIZE, SIZE)
        if case.has_mask and name != "busi":
            assert (read_mask(mask_path(out, case)) == (mask() > 0)).all()


def test_figshare_knows_class_patient_and_fold(tmp_path, prepare):
    make_figshare(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source", test="fold=5")
    assert {case.case_id: (case.class_name, case.group, case.split) for case in cases.values()} == {
        "1": ("meningioma", "10001", "test"),
        "2": ("glioma", "10002", "train"),
        "3": ("pituitary", "10003", "train"),
    }


def test_isic_leaves_superpixels_alone(tmp_path, prepare):
    make_isic(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source")
    assert set(cases) == {"ISIC_0000000", "ISIC_0000001"}


def test_cvc_takes_one_of_the_two_copies_and_groups_by_sequence(tmp_path, prepare):
    make_cvc(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source")
    assert {case.case_id: case.group for case in cases.values()} == {
        "1": "sequence-1",
        "2": "sequence-1",
        "3": "sequence-2",
    }


def test_busi_unites_masks_and_knows_normal(tmp_path, prepare):
    make_busi(tmp_path / "source")
    out, cases, _ = prepare(tmp_path / "source", min_area_px=4)
    assert {case.class_name: case.annotation for case in cases.values()} == {
        "benign": "boxes",
        "malignant": "boxes",
        "normal": "none",
    }
    assert boxes_of(out, cases["benign_1"]) == [BOX, [0, 0, 4, 4]]


def test_one_box_per_case_is_around_all_of_them(tmp_path, prepare):
    make_busi(tmp_path / "source")
    out, cases, _ = prepare(tmp_path / "source", min_area_px=4, boxes_per="case")
    assert boxes_of(out, cases["benign_1"]) == [[0, 0, 15, 12]]


def test_boxes_near_each_other_merge(tmp_path, prepare):
    make_busi(tmp_path / "source")
    out, cases, _ = prepare(tmp_path / "source", min_area_px=4, merge_distance_px=6)
    assert boxes_of(out, cases["benign_1"]) == [[0, 0, 15, 12]]


def test_lgg_groups_are_patients(tmp_path, prepare):
    make_lgg(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source")
    assert {case.group for case in cases.values()} == {
        "TCGA_CS_4941_19960909",
        "TCGA_DU_5849_19950405",
    }
    assert cases["TCGA_CS_4941_19960909_2"].annotation == "none"


@pytest.mark.parametrize("suffix", ["_mask", "_m", "_segmentation", "_seg", "_gt"])
def test_folder_masks_may_end_in_a_suffix_and_lie_beside(tmp_path, suffix, capsys, prepare):
    for name in ("a", "b"):
        save(tmp_path / "source" / "deep" / f"{name}.png", image())
        save(tmp_path / "source" / "deep" / f"{name}{suffix}.png", mask())
    _, cases, _ = prepare(tmp_path / "source")
    assert [case.annotation for case in cases.values()] == ["boxes", "boxes"]
    assert f"masks end in '{suffix}' and lie beside the images" in capsys.readouterr().err


def test_folder_splits_of_the_source_may_be_kept(tmp_path, prepare):
    for split in ("train", "test"):
        for kind, pixels in (("images", image()), ("masks", mask())):
            save(tmp_path / "source" / kind / split / f"{split}1.png", pixels)
    _, cases, _ = prepare(tmp_path / "source", test="split=test")
    assert {case.case_id: (case.split, case.class_name) for case in cases.values()} == {
        "train1": ("train", ""),
        "test1": ("test", ""),
    }


# --- volumes
# ----------------------------------------------------------------------------------------------------------


def test_nifti_slices_lie_as_radiologists_look_at_them(tmp_path):
    make_nifti(tmp_path / "source")
    cases = (
        choose_source("nifti", tmp_path / "source")[0]
        .list_cases(tmp_path / "source", SourceOptions())
        .cases
    )
    picture = next(case for case in cases if case.name == "liver_1_z2").image.load()
    voxels = volume(1)[:, :, 2]
    assert picture.pixels[0, 0] == voxels[-1, -1]  # top left: front, patient's right
    assert picture.pixels[-1, 0] == voxels[-1, 0]
    assert picture.spacing_hw_mm == (2.0, 0.5)


def test_nifti_orientation_of_the_file_does_not_matter(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    make_nifti(tmp_path / "source")
    path = tmp_path / "source" / "imagesTr" / "liver_1.nii.gz"
    options = SourceOptions()
    source = choose_source("nifti", tmp_path / "source")[0]
    before = [
        case.image.load().pixels
        for case in source.list_cases(tmp_path / "source", options).cases[:5]
    ]
    turned = nibabel.load(path).as_reoriented(nibabel.orientations.axcodes2ornt("PIL"))
    (tmp_path / "other" / "imagesTr").mkdir(parents=True)
    nibabel.save(turned, tmp_path / "other" / "imagesTr" / "liver_1.nii.gz")
    after = [
        case.image.load().pixels for case in source.list_cases(tmp_path / "other", options).cases
    ]
    assert len(after) == 5
    assert all((first == second).all() for first, second in zip(before, after, strict=True))


def test_nifti_keeps_slices_with_lesion_and_a_share_of_the_others(tmp_path, prepare):
    make_nifti(tmp_path / "source")
    _, none, _ = prepare(tmp_path / "source", tmp_path / "a", empty_slices=0.0, whole_volumes=False)
    _, every, _ = prepare(tmp_path / "source", tmp_path / "b")
    assert set(none) == {"liver_1_z2", "liver_2_z2"}
    assert len(every) == 10
    assert {case.group for case in every.values()} == {"liver_1", "liver_2"}
    assert {case.spacing_mm for case in every.values()} == {"2,0.5"}


@pytest.mark.parametrize(
    ("axis", "count", "spacing"), [(0, SIZE, "3,2"), (1, SIZE, "3,0.5"), (2, 5, "2,0.5")]
)
def test_nifti_may_be_cut_along_any_axis(tmp_path, axis, count, spacing, prepare):
    make_nifti(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source", axis=axis, min_area_px=1)
    assert len(cases) == 2 * count
    assert {case.spacing_mm for case in cases.values()} == {spacing}


def test_brats_needs_a_channel_and_labels(tmp_path, prepare):
    nibabel = pytest.importorskip("nibabel")
    folder = tmp_path / "source" / "BraTS20_001"
    folder.mkdir(parents=True)
    labels = np.zeros((SIZE, SIZE, 5), dtype=np.uint8)
    labels[5:9, 5:9, 1] = 1  # this slice alone would pass for black and white
    labels[5:9, 5:9, 2] = 4
    for kind, voxels in (("t1ce", volume(1)), ("flair", volume(2)), ("seg", labels)):
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"BraTS20_001_{kind}.nii.gz")
    with pytest.raises(
        ConfigError, match=r"volume BraTS20_001 has the channels flair, t1ce; choose one with --set"
    ):
        prepare(tmp_path / "source")
    out, _, _ = prepare(tmp_path / "source", tmp_path / "all", channel="t1ce")
    assert read_findings(out).names == ("value 1", "value 4")
    _, cases, _ = prepare(tmp_path / "source", channel="t1ce", label="4")
    boxed = {name for name, case in cases.items() if case.annotation == "boxes"}
    assert boxed == {"BraTS20_001_z2"}


def test_nifti_4d_needs_a_channel_number(tmp_path, prepare):
    nibabel = pytest.importorskip("nibabel")
    (tmp_path / "source").mkdir()
    voxels = np.stack([volume(1), volume(2)], axis=3)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "source" / "v.nii")
    why = "v.nii holds 2 volumes along its fourth axis; choose one with --channel (0 to 1)"
    with pytest.raises(InputError, match=re.escape(why)):
        prepare(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source", channel="1")
    assert len(cases) == 5
    assert {case.annotation for case in cases.values()} == {"unknown"}
    nibabel.save(nibabel.Nifti1Image(volume(1), np.eye(4)), tmp_path / "source" / "w.nii")
    _, cases, rejected = prepare(tmp_path / "source", tmp_path / "one")  # the rest goes on
    assert {case.group for case in cases.values()} == {"w"}
    assert rejected == {"v.nii": why}


def test_a_channel_is_asked_of_a_file_of_one_volume_as_predict_does(tmp_path, prepare):
    nibabel = pytest.importorskip("nibabel")
    (tmp_path / "source").mkdir()
    nibabel.save(nibabel.Nifti1Image(volume(1), np.eye(4)), tmp_path / "source" / "w.nii")
    with pytest.raises(InputError, match=r"w\.nii has no volume 1 \(--channel\): it is one volume"):
        prepare(tmp_path / "source", channel="1")
    with pytest.raises(InputError, match=r"w\.nii has no volume 1 \(--channel\): it is one volume"):
        slices_of(tmp_path / "source" / "w.nii", channel=1)
    _, cases, _ = prepare(tmp_path / "source", channel="0")
    assert len(cases) == len(slices_of(tmp_path / "source" / "w.nii", channel=0)) == 5


def test_a_patient_without_the_wanted_channel_does_not_stop_the_others(tmp_path, prepare):
    nibabel = pytest.importorskip("nibabel")
    for patient, channels in {"a_001": ("flair", "t1ce"), "a_002": ("flair", "t2")}.items():
        for channel in channels:
            path = tmp_path / "source" / patient / f"{patient}_{channel}.nii"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(volume(1), np.eye(4)), path)
    _, cases, rejected = prepare(tmp_path / "source", channel="t1ce")
    assert {case.group for case in cases.values()} == {"a_001"}
    assert list(rejected.values()) == ["volume a_002 has the channels flair, t2, not t1ce"]
    nibabel.save(nibabel.Nifti1Image(volume(1), np.eye(4)), tmp_path / "source" / "stray.nii")
    with pytest.raises(ConfigError, match="volume a_001 has the channels flair, t1ce; choose one"):
        prepare(tmp_path / "source", tmp_path / "unasked")  # not the stray file alone


def test_slices_are_stretched_by_the_limits_of_their_volume(tmp_path):
    make_nifti(tmp_path / "source")
    case = (
        choose_source("nifti", tmp_path / "source")[0]
        .list_cases(tmp_path / "source", SourceOptions())
        .cases[2]
    )
    low, high = case.image.load().volume_limits
    assert (low, high) == tuple(np.percentile(volume(1), (0.5, 99.5)))


# --- DICOM
# ------------------------------------------------------------------------------------------------------------


def test_dicom_groups_and_spacing(tmp_path, prepare):
    make_dicom(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source")
    groups = {case.group for case in cases.values()}
    assert len(groups) == 2
    assert all(group.startswith("patient-") for group in groups)
    assert {case.spacing_mm for case in cases.values()} == {"0.7,0.9"}
    assert len(cases) == 4


def load_dicom(tmp_path, pixels, **tags):
    write_dicom(tmp_path / "d" / "x.dcm", pixels, **tags)
    return (
        choose_source("dicom", tmp_path / "d")[0].list_cases(tmp_path / "d", SourceOptions()).cases
    )


def test_dicom_rescale_and_window(tmp_path):
    pixels = np.array([[0, 1000], [1040, 4000]], dtype=np.uint16)
    tags = {"RescaleSlope": 1, "RescaleIntercept": -1000, "WindowCenter": 40, "WindowWidth": 401}
    picture = load_dicom(tmp_path, pixels, **tags)[0].image.load()
    assert picture.pixels.tolist() == [[-1000, 0], [40, 3000]]  # Hounsfield units
    assert picture.window == (-160.5, 239.5)


def test_dicom_monochrome1_is_shown_inverted(tmp_path, prepare):
    pixels = np.arange(SIZE * SIZE, dtype=np.uint16).reshape(SIZE, SIZE)
    write_dicom(tmp_path / "source" / "x.dcm", pixels, PhotometricInterpretation="MONOCHROME1")
    out, cases, _ = prepare(tmp_path / "source")
    shown = np.array(Image.open(out / next(iter(cases.values())).image))
    assert (shown[0, 0], shown[-1, -1]) == (255, 0)


def test_dicom_frames_are_cases(tmp_path):
    frames = np.stack([image(1), image(2), image(3)])
    cases = load_dicom(tmp_path, frames)
    assert [case.source for case in cases] == ["x.dcm#0", "x.dcm#1", "x.dcm#2"]
    assert (cases[2].image.load().pixels == frames[2]).all()


# --- detection sets
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_lengths", [False, True])
def test_coco_boxes_masks_and_classes(tmp_path, run_lengths, prepare):
    make_coco(tmp_path / "source", run_lengths)
    out, cases, _ = prepare(tmp_path / "source", tmp_path / "a")
    assert {name: (case.class_name, case.annotation) for name, case in cases.items()} == {
        "1": ("polyp", "boxes"),
        "2": ("ulcer", "boxes"),
        "3": ("", "unknown"),
    }
    assert (read_mask(mask_path(out, cases["1"])) == (mask() > 0)).all()
    _, cases, _ = prepare(tmp_path / "source", tmp_path / "b", classes=["polyp"])
    assert {name: case.annotation for name, case in cases.items()} == {
        "1": "boxes",
        "2": "none",
        "3": "unknown",
    }


def test_a_change_of_the_annotations_is_noticed(tmp_path, prepare):
    make_coco(tmp_path / "source")
    prepare(tmp_path / "source")
    path = tmp_path / "source" / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text().replace("polyp", "polip"))
    from meddistill.base.errors import StageError

    with pytest.raises(StageError, match=r"inputs\.source was"):
        prepare(tmp_path / "source")


def test_yolo_empty_is_none_and_missing_is_unknown(tmp_path, prepare):
    make_yolo(tmp_path / "source")
    out, cases, _ = prepare(tmp_path / "source", test="split=val")
    assert {
        name: (case.class_name, case.annotation, case.split) for name, case in cases.items()
    } == {
        "a": ("tumour", "boxes", "train"),
        "b": ("", "none", "train"),
        "c": ("cyst", "boxes", "test"),
        "d": ("", "unknown", "train"),
    }
    assert boxes_of(out, cases["a"]) == [BOX]
    assert not cases["a"].has_mask
    assert (read_mask(mask_path(out, cases["c"])) == (mask() > 0)).all()  # of a polygon


def test_a_list_of_classes_before_any_label_is_no_label(tmp_path, prepare):
    source = tmp_path / "source"
    for number in range(4):
        save(source / "images" / f"{number}.png", image(number))
    (source / "labels").mkdir()
    (source / "labels" / "classes.txt").write_text("tumour\n")
    _, cases, _ = prepare(source)
    assert {case.annotation for case in cases.values()} == {"unknown"}


def test_yolo_labels_that_are_no_image_s_stop(tmp_path, prepare):
    for number in range(4):
        save(tmp_path / "source" / "images" / f"{number}.png", image(number))
    labels = tmp_path / "source" / "labels"
    labels.mkdir()
    for number in range(4):
        (labels / f"x{number}.txt").write_text("0 .5 .5 .25 .25\n")
    with pytest.raises(
        InputError, match=r"no label file of .* has the name of an image \(labels/x.*images/0.png\)"
    ):
        prepare(tmp_path / "source")
    for number in range(4):
        (labels / f"x{number}.txt").rename(labels / f"{number}.png.txt")
    _, cases, _ = prepare(tmp_path / "source")
    assert {case.annotation for case in cases.values()} == {"boxes"}


def test_voc_counts_from_one_and_says_none(tmp_path, prepare):
    make_voc(tmp_path / "source")
    _, cases, _ = prepare(tmp_path / "source")
    assert {name: (case.class_name, case.annotation) for name, case in cases.items()} == {
        "a": ("mass", "boxes"),
        "b": ("", "none"),
        "c": ("", "unknown"),
    }


def test_boxes_csv_needs_no_mask_anywhere(tmp_path, prepare):
    make_boxes_csv(tmp_path / "source")
    out, cases, _ = prepare(tmp_path / "source")
    assert {name: case.annotation for name, case in cases.items()} == {
        "a": "boxes",
        "b": "none",
        "c": "unknown",
    }
    assert not any(case.has_mask for case in cases.values())
    told = json.loads((out / "run.json").read_text())["results"]["warnings"]
    # Of three images none is for the test.
    assert any("`eval` would judge; `eval --split" in line for line in told)


def test_a_boxes_file_goes_over_masks_which_then_serve_evaluation_alone(tmp_path, prepare):
    make_folder(tmp_path / "source")
    (tmp_path / "mine.csv").write_text("image,x,y,width,height\na,1,2,10,11\n")
    out, cases, _ = prepare(tmp_path / "source", boxes=str(tmp_path / "mine.csv"))
    assert boxes_of(out, cases["a"]) == [[1, 2, 11, 13]]
    assert (cases["b"].annotation, cases["b"].has_mask) == ("unknown", True)


def test_images_alone_will_do_with_a_boxes_file(tmp_path, prepare):
    save(tmp_path / "source" / "a.png", image())
    (tmp_path / "mine.csv").write_text("image,x1,y1,x2,y2\na.png,1,2,10,11\n")
    _, cases, _ = prepare(tmp_path / "source", boxes=str(tmp_path / "mine.csv"))
    assert cases["a"].annotation == "boxes"


def test_folders_split_images_that_a_boxes_file_goes_over(tmp_path, prepare):
    for name, folder in (("a", "Train"), ("b", "Train"), ("c", "Valid"), ("d", "Test")):
        save(tmp_path / "source" / folder / f"{name}.png", image())
    lines = ["image,x1,y1,x2,y2", *(f"{name},1,2,10,11" for name in "abc")]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    _, cases, _ = prepare(tmp_path / "source", boxes=str(tmp_path / "mine.csv"))
    splits = {name: case.split for name, case in cases.items()}
    assert splits == {"a": "train", "b": "train", "c": "val", "d": "test"}


def test_a_boxes_file_says_in_which_split_an_image_is(tmp_path, prepare):
    for name, folder in (("a", ""), ("b", ""), ("c", ""), ("d", "test"), ("e", "train")):
        save(tmp_path / "source" / folder / f"{name}.png", image())
    lines = ["image,x1,y1,x2,y2,group,split", "a,1,2,10,11,p1,train", "b,1,2,10,11,p2,val"]
    lines += ["c,,,,,p3,test", "d,1,2,10,11,p4,train"]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    options = {"boxes": str(tmp_path / "mine.csv"), "unannotated": "unknown"}
    _, cases, _ = prepare(tmp_path / "source", **options)
    splits = {name: case.split for name, case in cases.items()}
    assert splits == {"a": "train", "b": "val", "c": "test", "d": "train", "e": "train"}
    assert cases["c"].annotation == "unknown"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,left,top\na,1,2\n", "has the columns image, left, top; expected image,x1,y1,x2,y2"),
        ("image,x1,y1,x2,y2\na,1,2,x,4\n", "line 2: could not convert"),
        ("image,x1,y1,x2,y2\na,5,5,2,9\n", "line 2: box 5,5,2,9 has no area"),
        ("image,x1,y1,x2,y2\na,1,2,nan,4\n", "line 2: box 1,2,nan,4 has no area"),
        ("image,x1,y1,x2,y2\na,1,2,inf,4\n", "line 2: a box has a coordinate that is not finite"),
        ("image,x1,y1,x2,y2\na,1,2\n", "line 2: expected 5 values"),
        (
            "image,x1,y1,x2,y2\nzz,1,2,3,4\n",
            r"no image of .* \(a, b, ...\) is in .*, which names zz",
        ),
        ("SOPInstanceUID,x1,y1,x2,y2\n1.2,1,2,3,4\n", "which names none in a column that is known"),
    ],
)
def test_bad_boxes_files_are_one_clear_line(tmp_path, text, message, prepare):
    make_folder(tmp_path / "source")
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "source", boxes=str(tmp_path / "mine.csv"))


def test_a_missing_boxes_file_is_one_clear_line(tmp_path, prepare):
    make_folder(tmp_path / "source")
    with pytest.raises(InputError, match=r"boxes file nowhere.csv does not exist"):
        prepare(tmp_path / "source", boxes="nowhere.csv")


# --- choosing
# ---------------------------------------------------------------------------------------------------------


def test_two_special_layouts_in_one_folder_stop(tmp_path):
    make_voc(tmp_path / "source")
    make_lgg(tmp_path / "source")
    with pytest.raises(
        InputError,
        match=r"fits more than one layout .lgg: it has .*; voc: .* has VOC's .*choose with --dataset",
    ):
        choose_source("auto", tmp_path / "source")


def test_a_table_of_boxes_beside_scans_goes_over_them(tmp_path, prepare):
    """RSNA, VinDr-CXR: DICOM files and a CSV that names them by their stems."""
    pytest.importorskip("pydicom")
    source = tmp_path / "source"
    for number in range(6):
        write_dicom(source / "train" / f"p{number}.dcm", image(number).astype(np.uint16))
    rows = [f"p{number},6,8,9,4,train\n" for number in range(4)]
    rows += ["p4,,,,,train\n", "p5,6,8,9,4,test\n"]
    table = source / "labels.csv"
    table.write_text("patientId,x,y,width,height,split\n" + "".join(rows))
    with pytest.raises(InputError, match=r"more than one layout .*with --boxes .*/labels\.csv, or"):
        choose_source("auto", source)
    out, cases, _ = prepare(source, boxes=str(table), val_fraction=0.0)
    by_stem = {name.rpartition("_")[2]: case for name, case in cases.items()}
    assert {stem: case.annotation for stem, case in by_stem.items()} == {
        f"p{number}": "none" if number == 4 else "boxes" for number in range(6)
    }
    assert boxes_of(out, by_stem["p0"]) == [list(BOX)]
    assert {stem for stem, case in by_stem.items() if case.split == "test"} == {"p5"}


def test_no_layout_says_which_there_are(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "notes.txt").write_text("nothing yet")
    with pytest.raises(
        InputError,
        match=r"has none of the layouts brain-tumor, figshare.*or arrange images/ and masks/",
    ):
        choose_source("auto", tmp_path / "source")


def test_an_unknown_layout_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"dataset is 'kvasr'; did you mean 'kvasir'\?"):
        choose_source("kvasr", tmp_path)


@pytest.mark.parametrize("name", MAKERS)
def test_a_layout_that_is_not_there_is_one_clear_line(tmp_path, name, prepare):
    if name == "folder":  # any picture will do for it
        (tmp_path / "source").mkdir()
    else:
        save(tmp_path / "source" / "readme" / "x.png", image())
    with pytest.raises(
        InputError, match=r"layout|lacks images/ or masks/|lacks Original/"
    ) as caught:
        prepare(tmp_path / "source", dataset=name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "module"), [("figshare", "h5py"), ("nifti", "nibabel"), ("dicom", "pydicom")]
)
def test_a_missing_extra_names_the_pip_command(tmp_path, monkeypatch, name, module, prepare):
    MAKERS[name](tmp_path / "source")
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(InputError, match=rf"needs {module}: pip install 'meddistill\[{name}\]'"):
        prepare(tmp_path / "source")
