"""`prepare` with what issue by issue grew around it: updates, folds, groups from names,
near-duplicates, the report."""

import dataclasses
import json
import os
from functools import partial

import numpy as np
import pytest
from support.layouts import image, mask, save

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.run.images import image_path
from meddistill.run.layout import CASES_CSV
from meddistill.run.tables import Case
from meddistill.settings.prepare import PrepareConfig


def add(source, numbers, seed=0):
    for number in numbers:
        save(source / "images" / f"p{number // 2}-{number}.png", image(seed + number))
        save(source / "masks" / f"p{number // 2}-{number}.png", mask())


@pytest.fixture
def source(tmp_path):
    add(tmp_path / "source", range(20))
    return tmp_path / "source"


@pytest.fixture
def prepare(prepare):
    """With groups from names."""
    return partial(prepare, group_from=r"(p\d+)-")


@pytest.fixture
def converted(monkeypatch):
    """Names of the cases that were read."""
    from meddistill.data.prepare import conversion_pool as module

    names = []
    original = module.convert
    monkeypatch.setattr(
        module, "convert", lambda case, *rest: names.append(case.name) or original(case, *rest)
    )
    return names


def test_groups_come_from_names(tmp_path, source, prepare):
    _, cases, _ = prepare(source)
    assert {case.group for case in cases.values()} == {f"p{number}" for number in range(10)}


def test_groups_may_be_folders(tmp_path, prepare):
    for patient in ("a", "b", "c"):
        save(tmp_path / "s" / "images" / patient / f"{patient}1.png", image(ord(patient)))
    _, cases, _ = prepare(tmp_path / "s", dataset="folder", group_from="folder")
    assert {case.group for case in cases.values()} == {"images/a", "images/b", "images/c"}


def test_names_without_a_group_are_rejected(tmp_path, source, prepare):
    save(source / "images" / "stranger.png", image(99))
    out, cases, _ = prepare(source)
    assert len(cases) == 20
    assert "images/stranger.png" in (out / "rejected.csv").read_text()


def test_bad_group_patterns_are_one_clear_line(tmp_path, source, prepare):
    with pytest.raises(ConfigError, match=r"group_from '\(' is no regular expression"):
        prepare(source, group_from="(")
    with pytest.raises(InputError, match=r"group_from 'TCGA_\\d\+' fits no case"):
        prepare(source, group_from=r"TCGA_\d+")


def test_folds_cover_everything_once(tmp_path, source, prepare):
    tested = []
    for fold in range(5):
        _, cases, _ = prepare(source, tmp_path / str(fold), folds=5, fold=fold)
        tested += [case.case_id for case in cases.values() if case.split == "test"]
    assert sorted(tested) == sorted(cases)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 5, "fold": 5}, r"fold must lie in \[0, 4\], got 5"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"fold": 1}, "folds must be at least 2"),
        ({"folds": 5, "test": "fold=4"}, "folds and test both name the test split"),
        ({"boxes_per": "image"}, "boxes_per is 'image'"),
        ({"intensity": "windw"}, "intensity is 'windw'"),
        ({"axis": 3}, r"axis must lie in \[0, 2\]"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**settings)


def test_update_reads_only_what_is_new_and_keeps_splits(tmp_path, source, converted, prepare):
    out, before, _ = prepare(source)
    files = {case_id: image_path(out, case).read_bytes() for case_id, case in before.items()}
    converted.clear()
    add(source, range(20, 30))
    with pytest.raises(StageError, match=r"inputs\.source was"):
        prepare(source)
    _, after, _ = prepare(source, update=True)
    assert sorted(converted) == sorted(f"p{number // 2}-{number}" for number in range(20, 30))
    assert len(after) == 30
    for case_id, case in before.items():
        assert after[case_id] == case
        assert image_path(out, case).read_bytes() == files[case_id]


def test_an_update_keeps_splits_where_groups_were_called_otherwise(source, prepare):
    """As by a version that told patients by other names."""
    out, before, _ = prepare(source)
    rows = [dataclasses.replace(case, group=f"old-{case.group}") for case in before.values()]
    write_table(out / CASES_CSV, Case, rows)
    add(source, range(20, 60))
    _, after, _ = prepare(source, update=True)
    assert {case_id: after[case_id].split for case_id in before} == {
        case_id: case.split for case_id, case in before.items()
    }
    assert {case.group for case in after.values()} == {f"p{number}" for number in range(30)}


def test_update_takes_out_what_is_gone_and_reads_again_what_changed(
    tmp_path, source, converted, prepare
):
    out, before, _ = prepare(source)
    converted.clear()
    (source / "images" / "p0-0.png").unlink()
    (source / "masks" / "p0-0.png").unlink()
    save(source / "images" / "p0-1.png", image(77))
    _, after, _ = prepare(source, update=True)
    assert converted == ["p0-1"]
    assert set(after) == set(before) - {"p0-0"}
    assert after["p0-1"].sha256 != before["p0-1"].sha256
    assert after["p0-1"].split == before["p0-1"].split
    assert not image_path(out, before["p0-0"]).exists()
    assert len(list((out / "images").rglob("*.png"))) == 19


def test_an_interrupted_update_goes_on(tmp_path, source, monkeypatch, prepare):
    _, before, _ = prepare(source)
    add(source, range(20, 30))
    from meddistill.stages import prepare as module

    place = module.place_files

    def stop(*arguments):
        place(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "place_files", stop)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, update=True)
    monkeypatch.undo()
    out, after, _ = prepare(source, update=True)
    assert {case_id: after[case_id] for case_id in before} == before
    assert len(list((out / "images").rglob("*.png"))) == len(after) == 30


def test_an_update_keeps_settings(tmp_path, source, prepare):
    prepare(source)
    with pytest.raises(
        StageError, match=r"other settings \(min_area_px\), which --update would have to keep"
    ):
        prepare(source, update=True, min_area_px=3)


def test_an_update_of_nothing_is_a_first_run(tmp_path, source, prepare):
    assert len(prepare(source, update=True)[1]) == 20


def test_a_failed_update_leaves_the_data(tmp_path, source, prepare):
    out, _, _ = prepare(source)
    (source / "images" / "p0-0.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"--strict: images/p0-0\.png"):
        prepare(source, update=True, strict=True)
    assert len(list((out / "images").rglob("*.png"))) == 20


def test_near_duplicates_across_splits_are_told_and_strict_fails(tmp_path, source, prepare):
    save(source / "images" / "p50-100.png", image(0))
    save(source / "masks" / "p50-100.png", mask())
    rows = "".join(
        f"{path.stem},{path.stem},{int(path.stem == 'p50-100')}\n"
        for path in (source / "images").iterdir()
    )
    (source / "groups.csv").write_text("id,group,held\n" + rows)
    settings = {"group_from": "", "test": "held=1"}
    with pytest.raises(InputError, match=r"--strict: p0-0 .* and p50-100 .test. look the same"):
        prepare(source, strict=True, **settings)
    out, _, _ = prepare(source, **settings)
    assert (out / "duplicates.csv").read_text().splitlines()[1:] in (
        ["p0-0,train,p50-100,test,0"],
        ["p0-0,val,p50-100,test,0"],
    )
    results = json.loads((out / "run.json").read_text())["results"]
    assert results["duplicates"] == 1
    assert "1 pairs of images look the same across splits" in "".join(results["warnings"])


def test_unknown_groups_are_said_in_the_terminal_the_record_and_the_report(
    tmp_path, source, capsys, prepare
):
    out, _, _ = prepare(source, group_from="")
    message = "groups (patients) are unknown"
    assert message in capsys.readouterr().err
    assert message in (out / "run.json").read_text()
    assert message in (out / "report.html").read_text()


def test_the_report_shows_counts_boxes_samples_and_rejections_and_no_hidden_box(
    tmp_path, source, prepare
):
    (source / "images" / "p3-7.png").write_bytes(b"<script>")
    out, cases, _ = prepare(source, box_fraction=0.2)
    page = (out / "report.html").read_text()
    assert page.count("<img ") == 10
    assert page.count("<svg ") == 3
    assert 'name="viewport"' in page  # a telephone shows it at its own width
    assert "prefers-color-scheme: dark" in page
    assert "p3-7.png" in page
    assert "unknown" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    results = json.loads((out / "run.json").read_text())["results"]
    assert results["boxes"]["boxes"] == sum(case.n_boxes for case in cases.values())
    assert results["boxes"]["longest_side_px"] == [9.0] * 5


def test_names_are_escaped_in_the_report(tmp_path, source, prepare):
    save(source / "images" / "p60-<b>bold.png", np.zeros((5, 5), dtype=np.uint8))
    out, _, _ = prepare(source)
    assert "&lt;b&gt;bold" in (out / "report.html").read_text()


def test_window_and_label_reach_the_pixels(tmp_path, prepare):
    from PIL import Image

    (tmp_path / "s" / "images").mkdir(parents=True)
    values = np.linspace(0, 4000, 24 * 24).reshape(24, 24).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "s" / "images" / "a.png")
    save(tmp_path / "s" / "masks" / "a.png", mask(4))
    out, cases, _ = prepare(tmp_path / "s", group_from="", window="1000,200", label="4")
    shown = np.array(Image.open(image_path(out, cases["a"])))
    assert ((shown == 0) == (values <= 900)).mean() > 0.99
    assert cases["a"].n_boxes == 1


def test_old_mtime_does_not_matter(tmp_path, source, capsys, prepare):
    prepare(source)
    for path in source.rglob("*.png"):
        os.utime(path, (1, 1))
    prepare(source)
    assert "nothing to do" in capsys.readouterr().err
