"""The study of several findings: arms learn from what they say, are judged by finding and unit, and
cells that are there are kept."""

import dataclasses
import json
import re

import numpy as np
import pytest
from support.label_maps import label_maps
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.findings import Findings
from meddistill.run.tables import read_cases

TOY = (
    "prepare.workers=1",
    "distill.student=unet",
    "distill.encoder=tu-test_resnet",
    "distill.encoder_weights=none",
    "distill.decoder_channels=[16,16,8,8,8]",
    "distill.targets.jitter_copies=1",
)
SMALL = ("distill.image_size=32", "distill.epochs=1")
ARMS = "student,twin,teacher,halves,both,background"


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/findings")
    module.SETS["toy"] = load_script("studies/_findings_sets").StudySet(
        "a=1,b=2", most=(8, 4, 3), settings=SMALL
    )
    return module


@pytest.fixture(scope="module")
def study(script, tmp_path_factory):
    root = tmp_path_factory.mktemp("findings")
    made = script.Study(
        "toy",
        label_maps(root / "source", count=15),
        root / "work",
        root / "cells",
        TOY,
        PaintingTeacher(),
    )
    for cell in script.cells_of("toy", ARMS, [0]):
        made.run(cell)
    return made


def _cell(study, arm):
    return json.loads((study.out / f"toy-{arm}-0.json").read_text())


def test_every_arm_is_judged_by_finding_on_the_same_units(study):
    for arm in ARMS.split(","):
        told = _cell(study, arm)
        assert list(told["findings"]) == ["a", "b"]
        assert {told["findings"][name]["units"] for name in "ab"} == {3}
        assert (
            told["findings"]["a"]["each"].keys()
            == _cell(study, "student")["findings"]["a"]["each"].keys()
        )
        assert sum(told["confusion"]["a"].values()) == 3
    # Its boxes are the rectangles of the masks, and this teacher fills them.
    assert _cell(study, "teacher")["dice_mean"] > 0.95


def test_parts_of_the_boxes_are_what_the_arms_say(study):
    def boxed(data):
        cases = read_cases(study.work / f"toy-{data}" / "data")
        return [(case.findings, case.n_boxes) for case in cases if case.split == "train"]

    assert sorted(boxed("halves")) == [("a", 1)] * 4 + [("b", 1)] * 4
    assert sorted(boxed("background")) == [("", 1)] * 8
    assert sorted(boxed("both")) == [("", 2)] * 4
    assert sorted(boxed("all")) == [("", 2)] * 8


def test_a_cell_that_is_there_is_not_run_again(script, study, monkeypatch, capsys):
    monkeypatch.setattr(script, "run_prepare", None)
    study.run(script.Cell("toy", "halves", 0))
    assert "other settings" not in capsys.readouterr().err
    other = dataclasses.replace(study, overrides=(*study.overrides, "distill.lr=0.5"))
    other.run(script.Cell("toy", "halves", 0))
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"\.json is there, made with other settings \((distill\.)?lr \S+, asked for 0\.5\)", told
    )


def test_a_unit_counts_for_the_findings_that_it_shows():
    judging = load_script("studies/_findings_judge")
    findings = Findings(("a", "b"))
    shared = np.zeros((3, 3), np.int64)
    shared[0] = (6, 3, 1)  # ten pixels are a: six found, three taken for b
    shared[2, 1] = 2
    pixels = judging._Pixels(shared, np.array([10, 0]), np.array([6, 5]))
    assert pixels.dice(0) == pytest.approx(12 / 16)
    assert judging._taken_for(pixels, 0, findings) == "a"
    assert judging._taken_for(pixels, 1, findings) == ""
    pixels.shared[0] = (0, 0, 10)
    assert judging._taken_for(pixels, 0, findings) == judging.NOTHING


def test_the_table_has_a_line_a_finding_and_arm(script, study):
    cells = script.read_cells(study.out)
    table = script.make_table(cells)
    assert table.count("| toy | a |") == table.count("| toy | b |") == 6
    assert "| toy: is, taken for | a | b | nothing |" in table


def test_what_is_not_known_is_one_clear_line(script, tmp_path):
    with pytest.raises(ConfigError, match="arm 'studnet' is not known"):
        script.cells_of("toy", "studnet", [0])
    with pytest.raises(ConfigError, match="is of two findings, brain has others"):
        script.cells_of("brain", "halves", [0])
    with pytest.raises(InputError, match="holds no cell"):
        script.read_cells(tmp_path)
