"""The study of the order of labelling: a played person, cells that are kept, pairs that compare."""

import json

import pytest
from support.label_run import make_source
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script

from meddistill.base.errors import InputError
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import RunDir
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

TABLE = load_script("studies/label_order_table")


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/label_order")
    module.AT_BOXES, module.USER_IMAGES, module.ACCEPTED_FROM = (5, 10), 14, 0.3
    module.ASKED_EVERY = 5
    return module


@pytest.fixture(scope="module")
def cells(script, tmp_path_factory):
    root = tmp_path_factory.mktemp("label-order")
    write_phantom(root / "source", cases=24, seed=0, size=64)
    run = RunDir(root / "toy")
    config = PrepareConfig(
        source=str(root / "source"), test_fraction=0.25, val_fraction=0.0, workers=1
    )
    run_prepare(run, config, seed=0)
    study = script.Study(run, root / "cells", 4, PaintingTeacher())
    for order in ("random", "mix"):
        study.play(order, 0)
    before = {path: path.stat().st_mtime_ns for path in study.out.iterdir()}
    study.play("mix", 0)  # it is there
    assert {path: path.stat().st_mtime_ns for path in study.out.iterdir()} == before
    return TABLE.read_cells(study.out)


def test_a_cell_tells_what_was_labelled_and_what_it_gave(cells):
    mix, random = cells
    assert (mix["order"], random["order"]) == ("mix", "random")
    for cell in cells:
        assert list(cell["boxes"]) == ["5", "10"]
        for told in cell["boxes"].values():
            assert 0 <= told["heads"] <= 1
            assert len(told["heads_dice"]) == len(cell["lesion_groups"]) <= len(cell["cases"])
    assert mix["pace"]["images"] == mix["boxes"]["10"]["images"]
    pace = random["pace"]
    assert pace["images"] == 14
    assert pace["accepted"] + pace["drawn"] >= 10
    assert pace["seconds"] <= pace["seconds_alone"]


def test_the_table_compares_with_random(cells):
    orders, paces = TABLE.make_table(cells).split("\n\n")
    random, mix = orders.splitlines()[2:]
    assert random.startswith("| toy | random | 1 |")
    assert "| +" in mix or "| -" in mix
    assert paces.splitlines()[2].startswith("| toy | 14 |")
    assert "| +0.000" in TABLE._line("toy", "mix", [cells[1]], [cells[1]])


def test_a_run_without_masks_cannot_judge(script, tmp_path):
    run = RunDir(tmp_path / "run")
    source = make_source(tmp_path, 4)
    run_prepare(run, PrepareConfig(source=str(source), test_fraction=0.5), seed=0)
    with pytest.raises(InputError, match="a mask of every case"):
        script.Study(run, tmp_path, 4, PaintingTeacher())
    (tmp_path / "a-b-c.json").write_text(json.dumps({}))
    assert TABLE.read_cells(tmp_path) == [{}]
