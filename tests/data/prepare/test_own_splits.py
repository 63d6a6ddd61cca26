"""The split that the data bring is kept, or drawn anew where that is asked for; what it tears is said."""

import json

import pytest
from support.layouts import image, mask, save

from meddistill.cli.app import app
from meddistill.data.prepare.own_splits import describe_splits, own_splits
from meddistill.data.raw_case import RawCase
from meddistill.settings.prepare import PrepareConfig


def splits_as_folders(root, parts):
    for part, numbers in parts.items():
        for number in numbers:
            save(root / part / "images" / f"p{number // 2}_{number}.png", image(number))
            save(root / part / "masks" / f"p{number // 2}_{number}.png", mask())
    return root


def splits_of(cases):
    found = {}
    for case in cases.values():
        found.setdefault(case.split, set()).add(int(case.case_id.split("_")[1]))
    return found


PARTS = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}


def test_folders_are_kept(tmp_path, prepare):
    source = splits_as_folders(tmp_path / "source", PARTS)
    _, cases, _ = prepare(source)
    assert splits_of(cases) == {name: set(numbers) for name, numbers in PARTS.items()}
    _, cases, _ = prepare(source, tmp_path / "b", resplit=True, test_fraction=0.4)
    assert len(splits_of(cases)["test"]) > 2


def test_what_a_split_lacks_is_drawn_from_training(tmp_path, prepare):
    source = splits_as_folders(tmp_path / "source", {"train": range(10), "test": range(10, 12)})
    _, cases, _ = prepare(source)
    found = splits_of(cases)
    assert found["test"] == {10, 11}
    assert 0 < len(found["val"]) < 5


def test_a_column_of_the_groups_table_is_a_split(tmp_path, prepare):
    source = splits_as_folders(tmp_path / "source", {"all": range(6)})
    rows = [f"p{n // 2}_{n},g{n},{'testing' if n > 3 else 'Training'}\n" for n in range(6)]
    (source / "groups.csv").write_text("id,group,split\n" + "".join(rows))
    _, cases, _ = prepare(source, val_fraction=0.0)
    assert splits_of(cases) == {"train": {0, 1, 2, 3}, "test": {4, 5}}


def test_a_patient_in_two_parts_is_said_with_numbers(tmp_path, prepare):
    parts = {"train": range(7), "val": [], "test": range(7, 10)}  # 6 and 7 are one patient's
    source = splits_as_folders(tmp_path / "source", parts)
    save(source / "test" / "images" / "p9_18.png", image(0))  # the picture of p0_0
    save(source / "test" / "masks" / "p9_18.png", mask())
    out, _, _ = prepare(source, group_from=r"p\d", val_fraction=0.0)
    warnings = json.loads((out / "run.json").read_text())["results"]["warnings"]
    assert any("tears 1 of 6 groups apart (p3), 2 of 11 images" in text for text in warnings)
    assert any("1 pictures lie in more than one split" in text for text in warnings)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (["instances_train2017", "instances_val2017"], ["train", "val"]),
        (["train", "valid", "test"], ["train", "val", "test"]),
        (["train", "", "test"], ["train", "train", "test"]),
        (["train", "train"], None),
        (["val2017", "val2017"], None),
        (["fold1", "fold2"], None),
        (["1", "2"], None),
    ],
)
def test_what_counts_as_a_split(values, kept):
    cases = [RawCase(str(n), str(n), None, columns={"split": v}) for n, v in enumerate(values)]
    assert own_splits(cases, PrepareConfig()) == kept
    assert own_splits(cases, PrepareConfig(test="split=test")) is None


def test_a_dry_run_says_what_is_understood_and_writes_nothing(tmp_path, capsys):
    source = splits_as_folders(tmp_path / "source", PARTS)
    (source / "notes.docx").write_bytes(b"PK")
    words = ["prepare", str(tmp_path / "run"), "--source", str(source), "--dry-run"]
    app(words, standalone_mode=False)
    told = capsys.readouterr().out
    for line in (
        "images    12: */images/p*.png",
        "masks     for 12 of 12 images: */masks/p*.png",
        "pairing   equal names: test/images/p5_10.png with test/masks/p5_10.png",
        "splits    those of the source: train 8, val 2, test 2 (--resplit draws new ones)",
        "1: not an image file type",
    ):
        assert line in told
    assert not (tmp_path / "run").exists()


def test_images_alone_are_fine_and_what_comes_next_is_said(tmp_path, prepare, capsys):
    for number in range(6):
        save(tmp_path / "source" / f"{number}.png", image(number))
    _, cases, _ = prepare(tmp_path / "source")
    assert {case.annotation for case in cases.values()} == {"unknown"}
    assert {case.split for case in cases.values()} == {"train", "val", "test"}
    told = capsys.readouterr().err
    assert "images alone are fine to begin with; draw boxes on some" in told
    assert "next: meddistill label" in told


def test_a_split_without_a_mask_is_named():
    own = ["train", "train", "val"]
    assert "val 1; test drawn from train; no mask or box in val" in describe_splits(
        own, [False, True, True]
    )
    for bare in ([False, True, False], [True, True, True]):
        assert "no mask" not in describe_splits(own, bare)


def test_splits_of_folders_that_say_more_are_kept(tmp_path, prepare):
    source = splits_as_folders(
        tmp_path / "source", {"a. Training Set": range(8), "b. Testing Set": range(8, 12)}
    )
    _, cases, _ = prepare(source, val_fraction=0.0)
    assert splits_of(cases) == {"train": set(range(8)), "test": set(range(8, 12))}
    assert {case.class_name for case in cases.values()} == {""}
