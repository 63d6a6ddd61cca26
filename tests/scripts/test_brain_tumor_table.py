"""The README's real-data table: what it averages, compares and leaves out."""

import numpy as np
import pytest
from support.evaluation_data import SIZE_HW, finish, square
from support.script_module import load_script

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import write_png
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.scores import Judging, ScoreRow, score
from meddistill.run.layout import PER_CASE_CSV

TRUTH = square(10, 10, 10)


@pytest.fixture
def script():
    return load_script("studies/brain_tumor_table")


def evaluation(folder, found, *, finished=True, method="student"):
    """An evaluation of two cases of two groups; `found`: how many of the lesion's ten columns each
    mask has."""
    rows = []
    for index, columns in enumerate(found):
        mask = TRUTH & (np.arange(SIZE_HW[1]) < 10 + columns)
        subject = JudgedCase(
            f"c{index}", f"c{index}", "test", f"g{index}", "", folder / "unread.png", None, None
        )
        rows.append(score(subject, method, mask, None, TRUTH, Judging()))
    write_table(folder / PER_CASE_CSV, ScoreRow, rows)
    if finished:
        finish(folder, "eval")


def test_seeds_are_averaged_and_aims_compared_case_by_case(script, tmp_path):
    evaluation(tmp_path / "full/eval-student-0", [10, 0])
    evaluation(tmp_path / "full/eval-student-1", [10, 10])
    evaluation(tmp_path / "full/eval-twin-0", [10, 10])
    evaluation(tmp_path / "full/eval-twin-1", [0, 0], finished=False)  # still being made
    shown = script.table(tmp_path)
    student, twin = (
        line for line in shown.splitlines() if line.startswith(("| **student", "| student's twin"))
    )
    assert "| 0.750 [0.500, 1.000] | 0.500, 1.000 | 0.750 |" in student
    assert student.endswith("| 1, 0 of 2 |")
    assert "| 1.000 [1.000, 1.000] |  | 1.000 |" in twin
    assert (
        "- student, boxes on all training cases against student's twin, trained on the true "
        "masks: ratio 0.750" in shown
    )
    assert "ratio 0.750, difference -0.250 [-0.500, +0.000]" in shown
    assert shown.count("ratio") == 1  # the other aims have no figures yet


def test_nothing_evaluated_is_one_clear_line(script, tmp_path):
    write_png(tmp_path / "full/a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"run scripts/studies/brain_tumor\.sh first"):
        script.table(tmp_path)
