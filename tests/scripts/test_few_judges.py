"""The study of what a few validation boxes choose well."""

import json

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from support.study_source import write_study_source

TOY = (
    "prepare.workers=1",
    "distill.image_size=32",
    "distill.encoder_weights=none",
    "distill.epochs=2",
    "distill.targets.jitter_copies=1",
    "distill.colearning.steps=2",
    "distill.colearning.head_steps=20",
    "distill.colearning.heads=2",
)


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/few_judges")
    module.SETS["toy"] = module.few_boxes.StudySet("fold", ("1",), ("2",), ("3",), "series")
    return module


def test_a_cell_tells_what_each_rule_was_worth(script, tmp_path):
    study = script.Study(
        "toy",
        write_study_source(tmp_path),
        tmp_path / "work",
        tmp_path / "cells",
        overrides=TOY,
        teacher=PaintingTeacher(),
    )
    script.run_cell(study, script.Cell("toy", 3, 0, "colearning"))
    told = json.loads((tmp_path / "cells/toy-3-0-colearning.json").read_text())
    assert (told["judged"], told["epochs"]) == (8, 2)
    assert list(told["worth"]) == ["3"]
    assert set(told["worth"]["3"]) == set(script.RULES)
    for each in told["worth"]["3"].values():
        assert 0 <= each["low"] <= each["mean"] <= 1
    assert "| toy | 3 | 0 | colearning | 3 |" in script.make_table([told])


def test_validation_chooses_what_it_sees_and_others_judge(script):
    cuts, cases = len(script.THRESHOLDS), 40
    soft = np.tile([[0.9], [0.2]], (1, cases))  # validation praises the first epoch
    truth = np.zeros((2, cuts, cases))
    truth[0], truth[1] = 0.3, 0.6
    truth[:, 2] += 0.2  # and another threshold
    found = script.Agreement(soft, truth, truth, np.arange(cases) // 2)
    worth = {rule: each["mean"] for rule, each in script.worth(found, 5).items()}
    assert worth == {"neither": 0.6, "epoch": 0.3, "threshold": 0.8, "both": 0.5}
