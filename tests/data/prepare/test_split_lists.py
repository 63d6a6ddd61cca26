"""Lists of names beside the images are the split that the data bring: Ultralytics' and Darknet's
`train.txt`, Pascal VOC's ImageSets, NIH's `train_val_list.txt`, lists of patients."""

import pytest
from support.layouts import image, mask, save

from meddistill.base.errors import MedDistillError

NAMES = [f"p{number // 2}_{number}" for number in range(12)]


def pictures(root, folder="images"):
    for number, name in enumerate(NAMES):
        save(root / folder / f"{name}.png", image(number))
        save(root / folder.replace("images", "masks") / f"{name}.png", mask())
    return root


def write_list(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def splits_of(cases):
    return {name: case.split for name, case in cases.items()}


def expected(train, val=(), test=()):
    parts = (("train", train), ("val", val), ("test", test))
    return {NAMES[number]: split for split, numbers in parts for number in numbers}


@pytest.mark.parametrize(
    "line",
    [
        "./images/{}.png",
        "/content/data set/images/{}.png",
        "{}",
        "images/{0}.png masks/{0}.png",
        "..\\images\\{}.png",
    ],
)
def test_lists_of_images_are_the_split(tmp_path, prepare, line):
    source = pictures(tmp_path / "source")
    parts = {"train": range(6), "valid": range(6, 8), "test": range(8, 12)}
    for part, numbers in parts.items():
        write_list(source / f"{part}.txt", [line.format(NAMES[number]) for number in numbers])
    _, cases, _ = prepare(source)
    assert splits_of(cases) == expected(*parts.values())


def test_the_lists_of_pascal_voc_are_taken_by_their_halves(tmp_path, prepare, capsys):
    source = pictures(tmp_path / "source")
    lists = source / "ImageSets" / "Segmentation"
    write_list(lists / "train.txt", NAMES[:6])
    write_list(lists / "val.txt", NAMES[6:8])
    write_list(lists / "trainval.txt", NAMES[:8])
    write_list(lists / "mass_test.txt", [f"{name} -1" for name in NAMES])
    write_list(lists / "test.txt", NAMES[8:])
    _, cases, _ = prepare(source)
    assert splits_of(cases) == expected(range(6), range(6, 8), range(8, 12))
    assert "splits are read from ImageSets/Segmentation/test.txt" in capsys.readouterr().err


def test_both_halves_in_one_list_are_for_training(tmp_path, prepare):
    source = pictures(tmp_path / "source")
    write_list(source / "train_val_list.txt", [f"{name}.png" for name in NAMES[:8]])
    write_list(source / "test_list.txt", [f"{name}.png" for name in NAMES[8:]])
    _, cases, _ = prepare(source, val_fraction=0.0)
    assert splits_of(cases) == expected(range(8), (), range(8, 12))


def test_lists_of_patients_are_the_split(tmp_path, prepare):
    source = pictures(tmp_path / "source")
    write_list(source / "train.txt", ["p0", "p1", "p2", "p3"])
    write_list(source / "test.txt", ["p4", "p5"])
    _, cases, _ = prepare(source, group_from=r"(p\d)_", val_fraction=0.0)
    assert splits_of(cases) == expected(range(8), (), range(8, 12))


def test_lists_of_folders_are_the_split(tmp_path, prepare):
    """Patients of DICOM files have hashed groups; their folders are called as they are."""
    source = tmp_path / "source"
    for number, name in enumerate(NAMES):
        save(source / name[:2] / f"{name}.png", image(number))
        save(source / name[:2] / f"{name}_mask.png", mask())
    write_list(source / "lists" / "train.list", ["p0", "p1", "p2", "p3"])
    write_list(source / "lists" / "test.list", ["p4", "p5"])
    _, cases, rejected = prepare(source, val_fraction=0.0)
    assert splits_of(cases) == expected(range(8), (), range(8, 12))
    assert rejected == {}


def test_patients_and_images_that_are_numbered_alike_are_told_apart(tmp_path, prepare):
    source = tmp_path / "source"
    for number in range(12):
        name = f"{number // 2 + 1}/{number + 1}.png"
        save(source / "images" / name, image(number))
        save(source / "masks" / name, mask())
    write_list(source / "train.txt", "1234")
    write_list(source / "test.txt", "56")
    _, cases, _ = prepare(source, val_fraction=0.0)
    tests = {case.source for case in cases.values() if case.split == "test"}
    assert tests == {f"images/{patient}.png" for patient in ("5/9", "5/10", "6/11", "6/12")}
    write_list(source / "train.txt", range(1, 9))
    write_list(source / "test.txt", range(9, 13))
    _, cases, _ = prepare(source, root=tmp_path / "other", val_fraction=0.0)
    assert {case.source for case in cases.values() if case.split == "test"} == tests


def test_images_of_no_list_are_for_training_and_counted(tmp_path, prepare, capsys):
    source = pictures(tmp_path / "source")
    write_list(source / "train.txt", NAMES[:6])
    write_list(source / "val.txt", NAMES[8:10])
    write_list(source / "test.txt", NAMES[10:])
    _, cases, _ = prepare(source)
    assert splits_of(cases) == expected(range(8), range(8, 10), range(10, 12))
    assert "2 images that none of them names are for training" in capsys.readouterr().err


def test_lists_of_folds_are_no_split_which_is_said(tmp_path, prepare, capsys):
    source = pictures(tmp_path / "source")
    for fold in range(2):
        write_list(source / f"train_{fold}.txt", NAMES[: 8 + fold])
        write_list(source / f"val_{fold}.txt", NAMES[8 + fold :])
    prepare(source)
    told = "".join(capsys.readouterr())
    assert "name 1 images for more than one part (images/p4_8.png, ...): no split" in told
    assert "splits: drawn" in told


def test_folders_and_the_user_go_before_lists(tmp_path, prepare):
    source = tmp_path / "source"
    for part, numbers in {"train": range(8), "test": range(8, 12)}.items():
        for number in numbers:
            save(source / part / "images" / f"{NAMES[number]}.png", image(number))
            save(source / part / "masks" / f"{NAMES[number]}.png", mask())
    write_list(source / "train.txt", NAMES[4:])
    write_list(source / "test.txt", NAMES[:4])
    _, cases, _ = prepare(source, val_fraction=0.0)
    assert splits_of(cases) == expected(range(8), (), range(8, 12))


def test_what_is_called_like_a_list_and_names_nothing_is_none(tmp_path, prepare, capsys):
    source = pictures(tmp_path / "source")
    write_list(source / "train.txt", ["epoch 1 loss 0.3", "epoch 2 loss 0.2"])
    write_list(source / "test.txt", ["dice 0.8"])
    prepare(source)
    assert "splits: drawn" in capsys.readouterr().err


def test_another_list_is_another_source(tmp_path, prepare):
    source = pictures(tmp_path / "source")
    write_list(source / "train.txt", NAMES[:8])
    write_list(source / "test.txt", NAMES[8:])
    prepare(source)
    write_list(source / "test.txt", NAMES[9:])
    with pytest.raises(MedDistillError, match="source"):
        prepare(source)
