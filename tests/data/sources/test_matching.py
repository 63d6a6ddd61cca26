"""Names as people give them: which file is an image, which a mask, and whose."""

import unicodedata

import pytest

from meddistill.base.errors import InputError
from meddistill.data.sources.file_roles import Patterns
from meddistill.data.sources.folder import folder_meanings, split_columns
from meddistill.data.sources.matching import match
from meddistill.data.sources.naming import SPLIT_WORDS, name_files

NUMBERS = ("001", "002", "013", "104")


def matched(root, names, patterns=None):
    files = sorted(root / name for name in names)
    return match(name_files(files, root, (".nii.gz",)), root, patterns or Patterns())


def pairs_of(found, root):
    return {
        path.relative_to(root).as_posix(): [mask.relative_to(root).as_posix() for mask in masks]
        for path, masks in found.masks_of.items()
    }


KINDS = {
    "prefixes": ("images/img_{}.JPG", "masks/mask_{}.PNG"),
    "a prefix on one side": ("images/{}.png", "masks/mask_{}.png"),
    "suffix beside": ("{}.png", "{}_mask.png"),
    "suffix of upper case": ("{}.tif", "{}_Segmentation.TIF"),
    "a dash and a singular": ("image/case-{}.png", "label/case-{}-label.png"),
    "a space": ("scan {}.png", "scan {} mask.png"),
    "number, then what it is": ("Image_{}.png", "{}_GT.png"),
    "camel case": ("TrainImages/{}.png", "TrainMasks/{}.png"),
    "two words for truth": ("Original/{}.tif", "Ground Truth/{}.tif"),
    "a folder a split": ("train/images/{}.png", "train/masks/{}.png"),
    "a split inside": ("images/train/{}.png", "masks/train/{}.png"),
    "spelled differently": ("training_images/{}.png", "train_masks/{}.png"),
    "case folders": ("C{0}/C{0}_Image/C{0}.bmp", "C{0}/C{0}_lesion/C{0}_lesion.bmp"),
    "case folders of equal names": ("p{}/scan.nii.gz", "p{}/scan_seg.nii.gz"),
    "image and mask, nothing else": ("p{}/image.png", "p{}/mask.png"),
    "nnU-Net": ("imagesTr/case_{}_0000.png", "labelsTr/case_{}.png"),
    "MSD": ("imagesTr/liver_{}.nii.gz", "labelsTr/liver_{}.nii.gz"),
    "a tumour a name": ("tumor_{}.png", "tumor_{}_mask.png"),
    "a class of tumours": ("images/tumor/{}.png", "masks/tumor/{}.png"),
    "masks in one folder": ("images/a/{}.png", "masks/{}_mask.png"),
    "deep": ("set/one/images/deep/{}.png", "set/one/masks/deep/{}.png"),
    "another word beside": ("case{}/flair_{}.png", "case{}/flair_{}_roi.png"),
    "ISLES": (
        "sub-s{0}/ses-1/dwi/sub-s{0}_ses-1_dwi.nii.gz",
        "derivatives/sub-s{0}/ses-1/sub-s{0}_ses-1_msk.nii.gz",
    ),
    "BIDS": ("rawdata/sub-{0}/sub-{0}_T1w.nii.gz", "derivatives/sub-{0}/sub-{0}_mask.nii.gz"),
    "one word for both": ("p{0}/p{0}_T1.nii.gz", "p{0}/p{0}_lesionmask.nii.gz"),
    "a volume of interest": ("p{0}/p{0}_T1.nii.gz", "p{0}/p{0}_VOI.nii.gz"),
    "one image a folder": ("s{}/images/{}.png", "s{}/masks/a83f.png"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_image_gets_its_own_mask(tmp_path, kind):
    image, mask = (pattern.replace("{}", "{0}") for pattern in KINDS[kind])
    names = [pattern.format(number) for pattern in (image, mask) for number in NUMBERS]
    found = matched(tmp_path, names)
    assert pairs_of(found, tmp_path) == {
        image.format(number): [mask.format(number)] for number in NUMBERS
    }
    assert not found.problems
    assert found.rule


def test_an_order_pairs_nothing(tmp_path):
    """As many of one as of the other, sorted alike, and no name in common."""
    names = [f"images/{a}.png" for a in "abcd"] + [f"masks/{b}.png" for b in "wxyz"]
    found = matched(tmp_path, names)
    assert not found.masks_of
    assert [reason for _, reason in found.problems] == ["mask without an image"] * 4
    assert len(found.images) == 4


def test_an_image_without_a_mask_stays_and_takes_nobodys(tmp_path):
    names = ["p01/scan.nii.gz", "p01/scan_seg.nii.gz", "p02/scan.nii.gz", "p03/scan.nii.gz"]
    names += ["p03/scan_seg.nii.gz"]
    found = matched(tmp_path, names)
    assert set(pairs_of(found, tmp_path)) == {"p01/scan.nii.gz", "p03/scan.nii.gz"}
    assert len(found.images) == 3


def test_accents_are_one_in_either_form(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Gefäß") for form in ("NFC", "NFD"))
    found = matched(tmp_path, [f"images/{composed} 1.png", f"masks/{apart} 1.png"])
    assert pairs_of(found, tmp_path) == {f"images/{composed} 1.png": [f"masks/{apart} 1.png"]}


def test_numbered_masks_are_parts_of_one(tmp_path):
    names = ["benign (1).png", "benign (1)_mask.png", "benign (1)_mask_1.png", "benign (2).png"]
    found = matched(tmp_path, [*names, "benign (2)_mask.png"])
    assert pairs_of(found, tmp_path)["benign (1).png"] == names[1:3]


def test_two_masks_of_one_name_are_a_question(tmp_path):
    found = matched(tmp_path, ["images/a.png", "masks/a.png", "masks/a.bmp"])
    assert [reason for _, reason in found.problems] == [
        "several masks have its stem: a.bmp, a.png; --masks chooses"
    ]


def test_a_region_is_no_lesion_and_may_be_asked_for(tmp_path):
    names = []
    for number in NUMBERS:
        case = f"C{number}"
        names += [f"{case}/{case}_Image/{case}.bmp", f"{case}/{case}_lesion/{case}_lesion.bmp"]
        names += [f"{case}/{case}_roi/{case}_R1_Label3.bmp"]
    found = matched(tmp_path, names)
    assert all("lesion" in mask for masks in pairs_of(found, tmp_path).values() for mask in masks)
    assert len(found.unused) == 4
    assert "--masks 'C*/C*_roi/C*_R1_Label3.bmp'" in found.readings[0]
    asked = matched(tmp_path, names, Patterns(masks="*_roi/*"))
    assert all("roi" in mask for masks in pairs_of(asked, tmp_path).values() for mask in masks)
    assert len(asked.masks_of) == 4


def test_two_equal_kinds_of_masks_are_both_named(tmp_path):
    names = [f"{n}{end}.png" for n in NUMBERS for end in ("", "_mask", "_gt")]
    with pytest.raises(
        InputError, match=r"two kinds of masks.*--masks '\*_gt.png' or --masks '\*_mask.png'"
    ):
        matched(tmp_path, names)
    assert len(matched(tmp_path, names, Patterns(masks="*_gt.png")).masks_of) == 4


def test_a_word_that_names_a_class_is_no_sign_of_a_mask(tmp_path):
    names = [f"{name}/{number}.png" for name in ("tumor", "normal") for number in NUMBERS]
    found = matched(tmp_path, names)
    assert len(found.images) == 8
    assert not found.problems


def test_previews_and_predictions_are_left_alone(tmp_path):
    names = [f"{kind}/{n}.png" for n in NUMBERS for kind in ("images", "masks", "overlays")]
    found = matched(tmp_path, names)
    assert len(found.images) == len(found.masks_of) == len(found.unused) == 4


def test_channels_are_told_apart(tmp_path):
    names = [f"imagesTr/c_{n}_000{c}.png" for n in NUMBERS for c in (0, 1)]
    names += [f"labelsTr/c_{n}.png" for n in NUMBERS]
    found = matched(tmp_path, names)
    assert {channel for _, channel in found.channels.values()} == {"0000", "0001"}


def test_numbers_tie_what_words_do_not(tmp_path):
    names = [f"training/images/{n}_training.tif" for n in range(21, 26)]
    names += [f"training/1st_manual/{n}_manual1.gif" for n in range(21, 26)]
    found = matched(tmp_path, names)
    assert pairs_of(found, tmp_path)[names[0]] == [names[5]]
    assert len(found.masks_of) == 5


def test_files_without_a_word_of_their_own_are_nobodys(tmp_path):
    names = [f"p{n}/{kind}.png" for n in (1, 2, 3) for kind in ("photo", "dots")]
    assert not matched(tmp_path, names).masks_of  # no name says which are masks


def test_told_images_keep_their_masks(tmp_path):
    """--images says which files are images, and takes no masks away."""
    names = [f"imagesTr/{n}.nii.gz" for n in NUMBERS] + [f"labelsTr/{n}.nii.gz" for n in NUMBERS]
    found = matched(tmp_path, names, Patterns(images="imagesTr/*"))
    assert len(found.masks_of) == 4
    assert not found.unused
    everything = matched(tmp_path, names, Patterns(images="*"))
    assert len(everything.images) == 8


@pytest.mark.parametrize("pattern", ["scans/*_t1.png", "*_t1.png"])
@pytest.mark.parametrize("mask", ["masks/{}.png", "masks/{}_t1.png"])
def test_one_modality_of_several_is_told(tmp_path, pattern, mask):
    names = [f"scans/{n}_t{kind}.png" for n in NUMBERS for kind in (1, 2)]
    found = matched(
        tmp_path, [*names, *(mask.format(n) for n in NUMBERS)], Patterns(images=pattern)
    )
    assert pairs_of(found, tmp_path) == {f"scans/{n}_t1.png": [mask.format(n)] for n in NUMBERS}
    assert [why for _, why in found.unused] == [f"does not fit --images {pattern}"] * 4


def test_masks_of_images_that_are_not_told_are_passed_over(tmp_path):
    names = [
        f"{kind}/{n}_{end}.png" for kind in ("images", "masks") for n in NUMBERS for end in "ab"
    ]
    found = matched(tmp_path, [*names, "masks/9_a.png"], Patterns(images="images/*_a.png"))
    assert len(found.masks_of) == 4
    assert [path.name for path, _ in found.problems] == ["9_a.png"]
    reasons = [why for _, why in found.unused]
    assert reasons.count("its image does not fit --images") == 4


def test_msk_names_a_part_of_the_body_too(tmp_path):
    names = [f"{part}/{n}.png" for part in ("MSK", "ABD") for n in NUMBERS]
    assert len(matched(tmp_path, names).images) == 8


def test_told_masks_of_bids_find_their_images(tmp_path):
    """Each patient's, not any of all (ISLES-2022)."""
    image, mask = KINDS["ISLES"]
    files = [each.format(n) for n in NUMBERS for each in (image, mask.replace("_msk", "_dots"))]
    files += [image.format(n).replace("_dwi.", "_adc.") for n in NUMBERS]
    told = Patterns(images="*_dwi.nii.gz", masks="*_dots.nii.gz")
    found = matched(tmp_path, files, told)
    assert pairs_of(found, tmp_path) == {
        image.format(n): [mask.format(n).replace("_msk", "_dots")] for n in NUMBERS
    }


def test_an_original_mask_is_no_image(tmp_path):
    """The store of MONAI Label: a person's masks, and those that a model proposed."""
    images = [f"case_{n}.nii.gz" for n in range(1, 5)]
    final = [f"labels/final/{name}" for name in images[:3]]
    original = [f"labels/original/{name}" for name in images]
    found = matched(tmp_path, [*images, *final, *original])
    assert len(found.images) == 4
    assert pairs_of(found, tmp_path) == {image: [f"labels/final/{image}"] for image in images[:3]}
    assert {path.parent.name for path, _ in found.unused} == {"original"}
    assert "--masks 'labels/original/*' takes those" in found.unused[0][1]
    for files, patterns in (
        ([*images, *original], None),
        ([*images, *final, *original], Patterns(masks="labels/original/*")),
    ):
        asked = matched(tmp_path, files, patterns)
        assert pairs_of(asked, tmp_path) == {each: [f"labels/original/{each}"] for each in images}


def test_images_below_a_folder_of_annotations_stay_images(tmp_path):
    names = [f"annotations/{kind}/{n}.png" for kind in ("images", "masks") for n in NUMBERS]
    names += [f"unlabelled/{n}.png" for n in NUMBERS]
    found = matched(tmp_path, names)
    assert {image.split("/")[1] for image in pairs_of(found, tmp_path)} == {"images"}
    assert len(found.masks_of) == 4


def test_nearer_names_do_not_choose_between_masks(tmp_path):
    """DRIVE: the field of view is called as the image, the vessels by their number alone."""
    names = [f"training/images/{n}_training.tif" for n in range(21, 26)]
    vessels = [f"training/1st_manual/{n}_manual1.gif" for n in range(21, 26)]
    view = [f"training/mask/{n}_training_mask.gif" for n in range(21, 26)]
    with pytest.raises(
        InputError, match=r"two kinds of masks .*--masks '.*1st_manual/\*_manual1.gif"
    ):
        matched(tmp_path, [*names, *vessels, *view])
    asked = Patterns(masks="training/1st_manual/*_manual1.gif")
    found = matched(tmp_path, [*names, *vessels, *view], asked)
    assert pairs_of(found, tmp_path) == {
        image: [mask] for image, mask in zip(names, vessels, strict=True)
    }
    few = matched(tmp_path, [*names, *view, vessels[0]])
    assert len(few.masks_of) == 5
    assert "1st_manual/21_manual1.gif may be masks as well" in few.readings[0]


def splits_of(root, *folders):
    files = sorted(root / folder / f"{number}.png" for folder in folders for number in NUMBERS)
    named = name_files(files, root, ())
    columns, meanings = split_columns(named), folder_meanings(named)
    return {
        folder: (
            SPLIT_WORDS.get(columns[root / folder / "001.png"]),
            meanings[root / folder / "001.png"][0],
        )
        for folder in folders
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("trainval-image", "test-image"),
        ("images/a. Training Set", "images/b. Testing Set"),
        ("MICCAI_BraTS2020_TrainingData", "MICCAI_BraTS2020_TestingData"),
    ],
)
def test_folders_that_differ_in_a_split_alone_are_splits_and_no_classes(tmp_path, train, test):
    assert splits_of(tmp_path, train, test) == {train: ("train", ""), test: ("test", "")}


@pytest.mark.parametrize(
    "folders",
    [
        ("stress test left", "stress test right"),
        ("before training", "after testing"),
        ("BraTS20_Training_001", "BraTS20_Training_002", "BraTS20_Validation_001"),
        ("a. Training Set", "c. Normal"),
    ],
)
def test_a_word_that_does_not_tell_siblings_apart_is_no_split(tmp_path, folders):
    assert {split for split, _ in splits_of(tmp_path, *folders).values()} == {None}


@pytest.mark.parametrize(
    ("folders", "is_patients"),
    [
        (["patient_01", "patient_02"], True),
        (["Case 1", "Case 2"], True),
        (["p01", "p02"], True),
        (["p1", "p2"], False),  # stages?
        (["grade1", "grade2"], False),
        (["patient_01", "other"], False),
    ],
)
def test_folders_that_are_called_patients_are_however_few(tmp_path, folders, is_patients):
    files = [tmp_path / folder / f"{number}.png" for folder in folders for number in NUMBERS]
    meanings = folder_meanings(name_files(files, tmp_path, ()))
    expected = {folder: ("", folder) if is_patients else (folder, "") for folder in folders}
    assert meanings == {file: expected[file.parent.name] for file in files}


def test_the_folders_of_amos_are_training_and_validation(tmp_path):
    files = [tmp_path / f"images{part}" / f"amos_{part}.png" for part in ("Tr", "Va", "Ts")]
    named = name_files(files, tmp_path, ())
    assert [file.split for file in named] == ["train", "val", "test"]
