"""The study of few boxes: cells are kept as they end, judged on the same cases, and compared in
pairs."""

import csv
import dataclasses
import json
import re

import pytest
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from support.study_source import write_study_source

from meddistill.base.errors import ConfigError

TOY = (
    "prepare.workers=1",
    "distill.image_size=32",
    "distill.encoder_weights=none",
    "distill.epochs=1",
    "distill.targets.jitter_copies=1",
    "distill.colearning.steps=2",
    "distill.colearning.head_steps=20",
    "distill.colearning.heads=2",
)


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/few_boxes")
    module.SETS["toy"] = module.StudySet("fold", ("1",), ("2",), ("3",), "series")
    module.ARMS["longer"] = ("distill.colearning.unboxed=ignore", "distill.colearning.steps=4")
    return module


@pytest.fixture(scope="module")
def study(script, tmp_path_factory):
    root = tmp_path_factory.mktemp("few-boxes")
    made = script.Study(
        "toy",
        write_study_source(root),
        root / "work",
        root / "cells",
        overrides=TOY,
        teacher=PaintingTeacher(),
    )
    for cell in script.cells_of("toy", "3,all", [0], "alone,colearning"):
        made.run(cell)
    return made


def test_each_cell_tells_what_it_gave_and_cost(study):
    names = sorted(path.name for path in study.out.iterdir())
    assert names == ["toy-3-0-alone.json", "toy-3-0-colearning.json", "toy-all-0-alone.json"]
    alone, ours, whole = (json.loads((study.out / name).read_text()) for name in names)
    assert alone["cases"] == ours["cases"] == whole["cases"]
    assert len(alone["dice"]) == len(alone["groups"]) == len(alone["cases"])
    assert alone["dice_mean"] == pytest.approx(sum(alone["dice"]) / len(alone["dice"]), abs=1e-3)
    assert (whole["unboxed"], alone["believed"]) == (0, {})
    assert alone["unboxed"] == ours["unboxed"] > 0
    told = ours["believed"]
    assert (
        sum(of["cases"] for of in told["dice"].values()) + told["empty"]["cases"] == ours["unboxed"]
    )


def test_a_cell_that_is_there_is_not_run_again(script, study, monkeypatch, capsys):
    monkeypatch.setattr(script, "run_prepare", None)
    study.run(script.Cell("toy", 3, 0, "alone"))
    assert "other settings" not in capsys.readouterr().err
    other = dataclasses.replace(study, overrides=(*study.overrides, "distill.lr=0.5"))
    other.run(script.Cell("toy", 3, 0, "alone"))
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"\.json is there, made with other settings \((distill\.)?lr \S+, asked for 0\.5\)", told
    )


def test_the_part_kept_for_the_end_is_judged_beside(script, study, monkeypatch):
    class AskedError(Exception):
        pass

    def prepare(run, config, seed):
        raise AskedError(run.root)

    monkeypatch.setattr(script, "run_prepare", prepare)
    other = dataclasses.replace(study, part="report")
    with pytest.raises(AskedError, match=r"report.toy-3-0"):
        other.run(script.Cell("toy", 3, 0, "alone"))


def test_arms_of_a_set_share_the_encodings(study):
    shared = study.work / "encodings-toy"
    assert len(list(shared.glob("*.npz")))
    assert (study.work / "toy-3-0/teacher/encodings").resolve() == shared


def test_no_part_shares_a_case_or_a_group_with_another(script, study, tmp_path):
    source = study.source
    for study_set in (
        script.SETS["toy"],
        script.StudySet("fold", ("1", "2"), ("3",), (), "series"),
    ):
        seen = {}
        for part in ("judge", "report"):
            table = tmp_path / f"{id(study_set)}-{part}.csv"
            script.write_parts(table, source, study_set, part)
            rows = list(csv.DictReader(table.read_text().splitlines()))
            assert {row["part"] for row in rows} <= {"train", part}
            for row in rows:
                assert seen.setdefault(row["id"], row["part"]) == row["part"]


def test_what_is_not_known_is_one_clear_line(script):
    with pytest.raises(ConfigError, match="arm 'alnoe' is not known"):
        script.cells_of("toy", "20", [0], "alnoe")
    with pytest.raises(ConfigError, match="counts and 'all'"):
        script.cells_of("toy", "20,few", [0], "alone")


def test_a_cell_names_no_folder_of_one_machine(script):
    told = script._without_folders({"seed": 0, "warm_start": "runs/few-boxes/toy-20-0/student"})
    assert told == {"seed": 0, "warm_start": "toy-20-0"}
    assert script._without_folders({"seed": 0, "warm_start": ""}) == {"seed": 0, "warm_start": ""}
