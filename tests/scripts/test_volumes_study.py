"""The study of volumes at toy size: cells are kept as they end, and told in a table."""

import json

import pytest
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from support.small_volumes import write_volumes

from meddistill.base.errors import ConfigError

TOY = (
    "prepare.workers=1",
    "distill.student=nested_unet",
    "distill.image_size=32",
    "distill.encoder_weights=none",
    "distill.epochs=1",
    "distill.colearning.steps=2",
    "distill.targets.jitter_copies=1",
)


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/volumes")
    module.SETS["toy"] = module.StudySet(2, 1, 4, ("prepare.label=1",))
    return module


@pytest.fixture(scope="module")
def study(script, tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    write_volumes(root / "source", count=4)
    made = script.Study(
        "toy", root / "source", root / "work", root / "cells", TOY, PaintingTeacher()
    )
    for cell in script.cells_of("toy", "all,every-4,one", [0]):
        made.run(cell)
    return made


def test_each_cell_tells_what_it_gave(study):
    cells = {path.stem: json.loads(path.read_text()) for path in study.out.iterdir()}
    assert cells.keys() == {f"toy-{arm}-0" for arm in ("all", "every-4", "one")}
    for cell in cells.values():
        assert len(cell["dice"]) == len(cell["volumes"]) == 1
        assert 0 <= cell["dice_mean"] <= 1
    assert [cells[f"toy-{arm}-0"]["boxed_slices"] for arm in ("all", "every-4", "one")] == [
        12,
        4,
        2,
    ]
    carried = cells["toy-every-4-0"]["carried"]["by_distance"]
    assert carried.keys() <= {"1", "2", "3"}
    assert sum(part["slices"] + part["beyond"] for part in carried.values()) > 4
    assert cells["toy-all-0"]["carried"]["by_distance"] == {}


def test_what_is_there_is_not_run_again_and_makes_a_table(script, study, monkeypatch):
    monkeypatch.setattr(script, "run_distill", None)
    study.run(script.Cell("toy", "one", 0))
    told = script.table_of(study.out).splitlines()
    assert len(told) == 5
    assert told[2].startswith("| toy | all | 1 | 12 of 24 |")


def test_an_arm_that_is_not_known_is_refused(script):
    with pytest.raises(ConfigError, match="arm 'each-5' is not known"):
        script.cells_of("toy", "all,each-5", [0])
