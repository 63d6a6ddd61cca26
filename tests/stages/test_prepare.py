import json
import os

import numpy as np
import pytest
from PIL import Image

from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.data.formats.pictures import read_rgb, write_png
from meddistill.data.masks import read_mask
from meddistill.run.labels import annotated_boxes, label_path
from meddistill.run.layout import RunDir
from meddistill.run.tables import read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare


def draw(index, size=32, empty=False):
    """An image with noise and a bright square, and the square's mask."""
    image = np.random.default_rng(index).integers(0, 90, (size, size)).astype(np.uint8)
    mask = np.zeros((size, size), dtype=np.uint8)
    if not empty:
        x = 4 + index % 12
        mask[8:18, x : x + 9] = 255
    return np.maximum(image, mask // 2), mask


@pytest.fixture
def folder(tmp_path):
    """Twenty cases in ten groups, layout `folder`; every fifth has an empty mask."""
    source = tmp_path / "source"
    rows = []
    for index in range(20):
        image, mask = draw(index, empty=index % 5 == 4)
        write_png(source / "images" / f"c{index:02}.png", image)
        write_png(source / "masks" / f"c{index:02}.png", mask)
        rows.append(f"c{index:02},g{index // 2},{index // 2 % 5 + 1}\n")
    (source / "groups.csv").write_text("id,group,fold\n" + "".join(rows))
    return source


def contents(directory):
    skip = {"run.json", "source_index.csv"}  # dates
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and path.name not in skip
    }


def test_every_case_has_its_files(tmp_path, folder, prepare):
    out, cases, _ = prepare(folder)
    assert len(cases) == 20
    for case in cases.values():
        image, mask = draw(int(case.case_id[1:]), empty=case.annotation == "none")
        assert (read_rgb(out / case.image)[..., 0] == image).all()
        assert (read_mask(mask_path(out, case)) == (mask > 0)).all()
        assert label_path(out, case).exists()
    assert {case.annotation for case in cases.values()} == {"boxes", "none"}
    assert sum(case.annotation == "none" for case in cases.values()) == 4
    assert {path.name for path in out.iterdir()} == {
        "cases.csv",
        "rejected.csv",
        "data.yaml",
        "train.txt",
        "val.txt",
        "test.txt",
        "images",
        "labels",
        "masks",
        "run.json",
        "source_index.csv",
        "converted.jsonl",
        "duplicates.csv",
        "report.html",
    }


def test_boxes_come_back_from_the_label_files(tmp_path, folder, prepare):
    out, cases, _ = prepare(folder)
    case = next(case for case in cases.values() if case.case_id == "c03")
    assert annotated_boxes(out, case).tolist() == [[7, 8, 16, 18]]


def test_groups_stay_together_and_the_table_chooses_test(tmp_path, folder, prepare):
    _, cases, _ = prepare(folder, test="fold=4", val="fold=1,2")
    splits = {}
    for case in cases.values():
        assert splits.setdefault(case.group, case.split) == case.split
    assert sorted(group for group, split in splits.items() if split == "test") == ["g3", "g8"]
    assert sorted(group for group, split in splits.items() if split == "val") == [
        "g0",
        "g1",
        "g5",
        "g6",
    ]


def test_brain_tumor_layout(tmp_path, prepare):
    source = tmp_path / "kaggle"
    for code in range(4):
        for index in range(4):
            image, mask = draw(index, empty=code == 0)
            for kind, pixels, name in (
                ("image", image, f"{code}{index}"),
                ("mask", mask, f"{code}{index}_m"),
            ):
                (source / kind / str(code)).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(source / kind / str(code) / f"{name}.jpg", quality=95)
    _, cases, _ = prepare(source)
    assert {case.case_id[0]: case.class_name for case in cases.values()} == {
        "0": "no_tumor",
        "1": "glioma",
        "2": "meningioma",
        "3": "pituitary",
    }
    assert {case.annotation for case in cases.values() if case.class_name == "no_tumor"} == {"none"}
    assert {case.annotation for case in cases.values() if case.class_name != "no_tumor"} == {
        "boxes"
    }
    out, cases, _ = prepare(source, overwrite=True, classes=["pituitary"])
    assert {case.class_name for case in cases.values()} == {"pituitary"}
    assert "groups" in json.loads((out / "run.json").read_text())["results"]["warnings"][0]


def test_a_quarter_of_the_boxes_leaves_the_rest_unknown_and_out_of_the_detectors_lists(
    tmp_path, folder, prepare
):
    out, cases, _ = prepare(
        folder, box_fraction=0.25, test="fold=4", val="fold=1", thin_validation=False
    )
    train = [case for case in cases.values() if case.split == "train"]
    known = {case.group for case in train if case.annotation != "unknown"}
    assert len({case.group for case in train}) == 6
    assert len(known) == 2
    listed = (out / "train.txt").read_text().split()
    for case in train:
        if case.annotation == "unknown":
            assert case.group not in known
            assert case.n_boxes == 0
            assert not label_path(
                out, case
            ).exists()  # to Ultralytics an empty label file means `no lesion`
            assert f"./{case.image}" not in listed
            assert mask_path(out, case).exists()
        else:
            assert f"./{case.image}" in listed
    assert all(case.annotation != "unknown" for case in cases.values() if case.split != "train")


def test_a_subset_is_as_large_as_asked_for(tmp_path, folder, prepare):
    out, cases, _ = prepare(folder, max_train_cases=5, max_test_cases=1)
    assert sum(case.split == "train" for case in cases.values()) == 5
    assert sum(case.split == "test" for case in cases.values()) == 1
    assert sum(path.is_file() for path in (out / "images" / "train").iterdir()) == 5


def test_one_process_or_several_give_the_same_bytes(tmp_path, folder, prepare):
    for index in range(20, 80):  # for fewer no second process is started
        image, mask = draw(index)
        write_png(folder / "images" / f"c{index:02}.png", image)
        write_png(folder / "masks" / f"c{index:02}.png", mask)
    (folder / "groups.csv").unlink()
    alone, _, _ = prepare(folder, tmp_path / "a", workers=1)
    several, _, _ = prepare(folder, tmp_path / "b", workers=2)
    assert contents(alone) == contents(several)


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path, folder, monkeypatch, prepare):
    whole, _, _ = prepare(folder, tmp_path / "a")
    calls = []

    def stop_after_seven(*arguments):
        if len(calls) == 7:
            raise KeyboardInterrupt
        calls.append(arguments)
        return convert(*arguments)

    from meddistill.data.prepare.convert import convert

    monkeypatch.setattr("meddistill.data.prepare.conversion_pool.convert", stop_after_seven)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "b")
    assert not (tmp_path / "b" / "run" / "data" / "run.json").exists()
    with pytest.raises(StageError, match="run `meddistill prepare` first"):
        read_cases(tmp_path / "b" / "run" / "data")
    with (tmp_path / "b" / "run" / "data" / "converted.jsonl").open("a") as journal:
        journal.write('{"key": "cut of')  # as a killed process leaves it
    calls.clear()
    monkeypatch.setattr(
        "meddistill.data.prepare.conversion_pool.convert", lambda *a: calls.append(a) or convert(*a)
    )
    resumed, _, _ = prepare(folder, tmp_path / "b")
    assert len(calls) == 13
    first, second = contents(whole), contents(resumed)
    assert {name: content for name, content in first.items() if name != "converted.jsonl"} == {
        name: content for name, content in second.items() if name != "converted.jsonl"
    }


def test_finished_says_so_and_does_nothing(tmp_path, folder, capsys, prepare):
    out, _, _ = prepare(folder)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    prepare(folder, workers=1, dataset="folder")
    assert "nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_moved_source_is_the_same_source(tmp_path, folder, capsys, prepare):
    prepare(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    prepare(moved)
    assert "nothing to do" in capsys.readouterr().err


def test_a_run_goes_on_where_the_source_is_not(tmp_path, folder, capsys, prepare):
    out, _, _ = prepare(folder)
    folder.rename(tmp_path / "elsewhere")
    assert prepare(folder)[0] == out
    assert "the source is not on this machine" in capsys.readouterr().err
    with pytest.raises(StageError, match="other settings, and the source"):
        prepare(folder, min_area_px=3)


def test_a_changed_pixel_in_the_source_is_noticed(tmp_path, folder, prepare):
    prepare(folder)
    image, _ = draw(77)
    path = folder / "images" / "c00.png"
    before = path.stat()
    write_png(path, image)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(StageError, match=r"inputs\.source was"):
        prepare(folder)


def test_other_settings_are_refused_until_overwritten(tmp_path, folder, prepare):
    prepare(folder)
    with pytest.raises(StageError, match=r"settings.min_area_px was 10, now 3.*--overwrite"):
        prepare(folder, min_area_px=3)
    prepare(folder, min_area_px=3, overwrite=True)


def test_bad_files_are_listed_and_the_rest_goes_on(tmp_path, folder, prepare):
    (folder / "images" / "c00.png").write_bytes(b"no picture")
    write_png(folder / "masks" / "c01.png", np.zeros((10, 12), dtype=np.uint8))
    (folder / "masks" / "lonely.png").write_bytes((folder / "masks" / "c02.png").read_bytes())
    _, cases, reasons = prepare(folder)
    assert len(cases) == 18
    assert set(reasons) == {"images/c00.png", "images/c01.png", "masks/lonely.png"}
    assert "cannot be read as an image" in reasons["images/c00.png"]
    assert reasons["images/c01.png"] == "mask is 12x10, image 32x32"
    assert reasons["masks/lonely.png"] == "mask without an image"


def test_strict_stops_at_a_bad_file_and_leaves_nothing(tmp_path, folder, prepare):
    (folder / "images" / "c00.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"--strict: images/c00.png: c00.png cannot be read"):
        prepare(folder, strict=True)
    assert not (tmp_path / "run").exists()
    assert len(prepare(folder)[1]) == 19


def test_no_case_left_says_why_and_leaves_nothing(tmp_path, folder, prepare):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match=r"no case is left of 20 in .*c00.png is empty"):
        prepare(folder)
    assert not (tmp_path / "run").exists()


def test_an_image_without_a_mask_is_unknown(tmp_path, folder, prepare):
    (folder / "masks" / "c00.png").unlink()
    out, cases, _ = prepare(folder)
    case = next(case for case in cases.values() if case.case_id == "c00")
    assert (case.annotation, case.has_mask) == ("unknown", False)
    assert not label_path(out, case).exists()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"dataset": "foldr"}, ConfigError, r"dataset is 'foldr'; did you mean 'folder'\?"),
        ({"classes": ["glioma"]}, InputError, "class 'glioma' is not in the source"),
        ({"test": "fold"}, InputError, "expected COLUMN=VALUE"),
        ({"test": "flod=4"}, InputError, r"no column 'flod'; did you mean 'fold'\?"),
        ({"test": "fold=9"}, InputError, "no case is chosen for the test split"),
        ({"test": "fold=1,2,3", "val": "fold=4,5"}, InputError, "no case is left for training"),
        ({"groups": "nowhere.csv"}, InputError, r"groups file nowhere.csv does not exist"),
        ({"source": "nowhere"}, InputError, "source nowhere is not a folder"),
        ({"source": ""}, InputError, "no source given; pass --source"),
    ],
)
def test_bad_settings_are_one_clear_line(tmp_path, folder, settings, error, message):
    config = PrepareConfig(**{"source": str(folder), **settings})
    with pytest.raises(error, match=message):
        run_prepare(RunDir(tmp_path / "run"), config, seed=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,fold\nc00,1\n", "has the columns name, fold; expected one of id"),
        ("id,group\nc00,a\nc00,b\n", "line 3: 'c00' is there twice"),
        ("id,group\nc00,a,x\n", "line 2: expected 2 values"),
        (
            "id,group\nzz,a\n",
            "no case of .* has a row in .*: images/c00.png: groups file has no row 'c00'",
        ),
        ("", "has the columns none"),
    ],
)
def test_bad_groups_files_are_one_clear_line(tmp_path, folder, text, message, prepare):
    (folder / "groups.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        prepare(folder)


def test_a_case_without_a_group_is_rejected(tmp_path, folder, prepare):
    lines = (folder / "groups.csv").read_text().splitlines(keepends=True)
    (folder / "groups.csv").write_text(
        "".join(line for line in lines if not line.startswith("c07"))
    )
    _, cases, reasons = prepare(folder)
    assert len(cases) == 19
    assert reasons == {"images/c07.png": "groups file has no row 'c07'"}


def test_run_inside_the_source_is_refused(tmp_path, folder):
    with pytest.raises(InputError, match="lie in each other"):
        run_prepare(RunDir(folder / "run"), PrepareConfig(source=str(folder)), seed=0)


def test_specks_alone_are_neither_a_lesion_nor_healthy(tmp_path, folder, prepare):
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[3, 3] = 255
    write_png(folder / "masks" / "c00.png", mask)
    _, cases, _ = prepare(folder)
    assert next(case for case in cases.values() if case.case_id == "c00").annotation == "unknown"


def test_equal_names_of_two_folders_become_different_ids(tmp_path, prepare):
    source = tmp_path / "source"
    for kind, scale in (("images", 1), ("masks", 1)):
        for index, class_name in enumerate(("a", "b", "c")):
            pair = draw(index)
            write_png(source / kind / class_name / "1.png", pair[kind == "masks"] * scale)
    _, cases, _ = prepare(source, dataset="folder", test_fraction=0.3, val_fraction=0.3)
    assert len({case.case_id for case in cases.values()}) == 3
    assert all(case.case_id.startswith("1-") for case in cases.values())
    assert {case.class_name for case in cases.values()} == {"a", "b", "c"}
