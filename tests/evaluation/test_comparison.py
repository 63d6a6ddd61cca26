"""Summaries, budgets, comparisons and aggregates of rows made by hand."""

import dataclasses

import numpy as np
import pytest
from support.evaluation_data import square

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.base.files import read_json, write_json
from meddistill.evaluation.comparison import aggregate, compare
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.scores import Judging, ScoreRow, score
from meddistill.evaluation.summary import (
    by_volume,
    define,
    error_budget,
    size_bounds,
    summarise,
    volume_dice,
)
from meddistill.run.layout import RunDir
from meddistill.stages.compare import run_aggregate, run_compare


def row_of(case_id, pred, target, method="student", class_name="glioma", volume="", spacing=None):
    subject = JudgedCase(
        case_id, case_id, "test", case_id[0], class_name, None, None, spacing, volume
    )
    return score(subject, method, pred, None, target, Judging())


def nothing():
    return np.zeros_like(square(0, 0, 1))


def test_the_summary_counts_and_averages_by_hand():
    lesion = square(8, 8, 4)
    rows = [
        row_of("a1", lesion, lesion),
        row_of("a2", nothing(), lesion),
        row_of("b1", lesion, nothing(), class_name="none"),
        row_of("b2", nothing(), nothing(), class_name="none"),
    ]
    found = summarise(rows)["student"]
    assert (found["n"], found["n_groups"], found["n_with_lesion"]) == (4, 2, 2)
    assert (found["n_missed"], found["n_false"]) == (1, 1)
    assert found["metrics"]["dice"]["mean"] == 0.5
    assert found["metrics"]["hd_px"]["mean"] == pytest.approx(np.hypot(40, 48) / 2)
    assert found["detected_only"] == {**found["detected_only"], "n": 1}
    assert found["detected_only"]["metrics"]["hd_px"]["mean"] == 0
    assert found["by_class"]["none"]["metrics"]["dice"]["mean"] == 0.5
    assert "hd_mm" not in found["metrics"]
    assert "brier" not in found["metrics"]
    assert (found["lesions"]["found"], found["lesions"]["missed"], found["lesions"]["false"]) == (
        1,
        1,
        1,
    )
    assert found["lesions"]["f1"] == 0.5


def test_millimetres_are_summarised_only_where_every_case_has_a_spacing():
    lesion = square(8, 8, 4)
    with_mm = row_of("a1", lesion, lesion, spacing=(0.5, 0.5))
    assert "hd_mm" in summarise([with_mm])["student"]["metrics"]
    assert "hd_mm" not in summarise([with_mm, row_of("a2", lesion, lesion)])["student"]["metrics"]


def test_sizes_are_thirds_of_the_cases_with_a_lesion():
    rows = [row_of(f"a{side}", nothing(), square(2, 2, side)) for side in (2, 4, 6, 8, 10, 12)]
    rows.append(row_of("b0", nothing(), nothing()))
    low, high = size_bounds(rows)
    assert 16 < low < 36
    assert 64 < high < 100
    assert {name: part["n"] for name, part in summarise(rows)["student"]["by_size"].items()} == {
        "small": 2,
        "medium": 2,
        "large": 2,
    }
    assert size_bounds(rows[-1:]) == (0, 0)


def test_a_volume_is_scored_on_all_its_slices_at_once():
    small, large = square(2, 2, 2), square(2, 2, 10)
    rows = [
        row_of("a1", nothing(), small, volume="v.nii"),
        row_of("a2", large, large, volume="v.nii"),
        row_of("a3", large, large),
    ]
    assert volume_dice(rows) == {"v.nii": (pytest.approx(200 / 204), "a")}
    assert summarise(rows)["student"]["by_volume"]["n"] == 1
    assert summarise(rows[2:])["student"]["by_volume"] is None
    expected = {
        "volume": "v.nii",
        "group": "a",
        "n_slices": 2,
        "dice": {"student": pytest.approx(200 / 204)},
    }
    assert by_volume(rows) == [expected]
    assert by_volume(rows[2:]) == []


def test_definitions_name_the_tolerance_that_was_used():
    found = define(Judging(tolerance_px=3, tolerance_mm=0.5, lesion_iou=0.25))
    assert "within 3 px" in found["nsd_px"]["definition"]
    assert "within 0.5 mm" in found["nsd_mm"]["definition"]
    assert "IoU of 0.25" in found["lesion_f1"]["definition"]
    assert (found["hd95_mm"]["unit"], found["dice"]["unit"]) == ("mm", "")


def test_the_error_budget_adds_up_to_what_the_student_lacks():
    lesion, half, other = square(8, 8, 10), square(8, 8, 10), square(30, 30, 5)
    half[13:] = False  # Dice 2/3
    rows = [
        # The detector sees nothing: all is lost there, and half of it is won back by the student.
        row_of("a1", nothing(), lesion, "boxes"),
        row_of("a1", nothing(), lesion, "teacher"),
        row_of("a1", half, lesion),
        # The box touches: the teacher loses a third, and the student the rest.
        row_of("b1", lesion, lesion, "boxes"),
        row_of("b1", half, lesion, "teacher"),
        row_of("b1", other, lesion),
        # Healthy cases do not count.
        *(row_of("c1", nothing(), nothing(), method) for method in ("boxes", "teacher", "student")),
    ]
    budget = error_budget(rows, "student", "teacher", "boxes")
    assert (budget["n"], budget["n_untouched"]) == (2, 1)
    assert budget["detector"] == pytest.approx(0.5)
    assert budget["teacher"] == pytest.approx((1 / 3) / 2)
    assert budget["student"] == pytest.approx(((1 / 3 - 1) + (1 - 1 / 3)) / 2)
    assert budget["detector"] + budget["teacher"] + budget["student"] == pytest.approx(
        budget["total"]
    )
    assert error_budget(rows[1:], "student", "teacher", "nobody") is None
    assert error_budget(rows[-3:], "student", "teacher", "boxes") is None


@pytest.fixture
def two_students():
    """Ten cases of five groups; the second student is a pixel off."""
    lesion = square(10, 10, 10)
    names = [f"{letter}{number}" for letter in "abcde" for number in (1, 2)]
    first = [row_of(name, lesion, lesion, class_name=f"c{name[1]}") for name in names]
    second = [
        row_of(name, np.roll(lesion, 1, axis=0), lesion, class_name=f"c{name[1]}") for name in names
    ]
    return first, second


def test_a_comparison_is_paired_by_case_and_has_a_sign(two_students):
    first, second = two_students
    found = compare(first, second[::-1])
    assert (found["n"], found["n_only_first"], found["n_only_second"]) == (10, 0, 0)
    dice = found["metrics"]["dice"]
    assert dice["mean"] == pytest.approx(0.1)
    assert dice["ci95"] == pytest.approx((0.1, 0.1))
    assert (dice["n_better"], dice["n_worse"], dice["n_groups"]) == (10, 0, 5)
    assert dice["p_wilcoxon"] == pytest.approx(2 / 2**5)  # five groups, all of one sign
    assert found["metrics"]["hd95_px"]["mean"] == -1
    assert set(found["dice_by_class"]) == {"c1", "c2"}
    assert "hd95_mm" not in found["metrics"]
    assert compare(second, first)["metrics"]["dice"]["mean"] == pytest.approx(-0.1)


def test_cases_that_one_side_lacks_are_counted(two_students):
    first, second = two_students
    found = compare(first[2:], second[:5])
    assert (found["n"], found["n_only_first"], found["n_only_second"]) == (3, 5, 2)


def test_other_data_is_not_compared(two_students):
    first, second = two_students
    with pytest.raises(InputError, match="share no case"):
        compare(first[:2], second[2:])
    with pytest.raises(InputError, match="case a1 has a true mask of 100 px in group 'a'"):
        compare(first, [dataclasses.replace(second[0], true_px=5), *second[1:]])


def test_folds_are_taken_together(two_students):
    first, second = two_students
    found = aggregate({"one": first[:4], "two": second[4:]})
    assert (found["n_cases"], found["n_repeated"]) == (10, 0)
    assert found["per_run"]["two"]["student"] == {"n": 6, "dice": pytest.approx(0.9)}
    assert found["between_runs"]["student"]["mean"] == pytest.approx(0.95)
    assert found["between_runs"]["student"]["sd"] == pytest.approx(0.1 / np.sqrt(2))
    assert found["pooled"]["student"]["metrics"]["dice"]["mean"] == pytest.approx(
        (4 * 1 + 6 * 0.9) / 10
    )
    assert aggregate({"one": first, "two": second})["n_repeated"] == 10


@pytest.fixture
def evaluated(tmp_path, two_students):
    """Two RUNs with an eval/per_case.csv each; the first has scores of the boxes, too."""
    first, second = two_students
    boxes = [dataclasses.replace(row, method="boxes", dice=0.5) for row in first]
    for name, rows in (("one", first + boxes), ("two", second)):
        write_table(tmp_path / name / "eval" / "per_case.csv", ScoreRow, rows)
    return tmp_path


@pytest.mark.parametrize(
    ("first", "second", "run", "difference"),
    [
        ("{0}/one", "{0}/two", None, 0.1),
        ("{0}/one/eval", "{0}/two/eval:student", None, 0.1),
        ("{0}/one:boxes", "{0}/two", None, -0.4),
        ("student", "boxes", "one", 0.5),
    ],
)
def test_sides_are_found(evaluated, capsys, first, second, run, difference):
    found = run_compare(
        first.format(evaluated),
        second.format(evaluated),
        seed=0,
        run=RunDir(evaluated / run) if run else None,
        out=evaluated / "out",
    )
    assert found["metrics"]["dice"]["mean"] == pytest.approx(difference)
    assert read_json(evaluated / "out" / "comparison.json")["n"] == 10
    assert f"{difference:+.3f}" in capsys.readouterr().out


def test_sides_that_are_not_there_say_what_to_do(evaluated):
    with pytest.raises(ConfigError, match="'student' of which RUN"):
        run_compare("student", "boxes", seed=0)
    with pytest.raises(InputError, match="no scores of 'boxes', only of student"):
        run_compare(f"{evaluated}/one:boxes", f"{evaluated}/two:boxes", seed=0)
    with pytest.raises(StageError, match=r"run `meddistill eval .*three` first"):
        run_compare(f"{evaluated}/one", f"{evaluated}/three", seed=0)
    for side in ("nnU-Net", f"{evaluated}/one:nnU-Net"):
        with pytest.raises(ConfigError, match=r"'nnU-Net' is neither .*'other' are the masks of"):
            run_compare("student", side, seed=0, run=RunDir(evaluated / "one"))


def test_another_tool_is_called_as_the_evaluations_call_it(evaluated, two_students, capsys):
    for name, rows in zip(("one", "two"), two_students, strict=True):
        other = [dataclasses.replace(row, method="other") for row in rows]
        write_table(evaluated / name / "eval" / "per_case.csv", ScoreRow, rows + other)
        write_json(evaluated / name / "eval" / "summary.json", {"labels": {"other": "nnU-Net"}})
    run_aggregate([evaluated / "one", evaluated / "two"], seed=0)
    assert "nnU-Net" in capsys.readouterr().out
    write_json(evaluated / "two" / "eval" / "summary.json", {"labels": {"other": "U-Mamba"}})
    run_aggregate([evaluated / "one", evaluated / "two"], seed=0)
    assert "another tool" in capsys.readouterr().out


def test_an_evaluation_that_is_not_finished_is_told(evaluated, capsys):
    write_json(evaluated / "one" / "eval" / "unfinished.json", {})
    run_compare(f"{evaluated}/one", f"{evaluated}/two", seed=0)
    assert "eval is not finished: cases may be missing" in capsys.readouterr().err
    write_json(evaluated / "one" / "eval" / "run.json", {})
    run_compare(f"{evaluated}/one", f"{evaluated}/two", seed=0)
    assert "not finished" not in capsys.readouterr().err


def test_runs_are_aggregated_from_their_directories(evaluated, capsys):
    run_aggregate([evaluated / "one", evaluated / "two"], seed=0, out=evaluated / "out")
    found = read_json(evaluated / "out" / "aggregate.json")
    assert found["between_runs"]["student"]["n"] == 2
    assert found["between_runs"]["boxes"]["n"] == 1
    printed = capsys.readouterr()
    assert "0.950 +- 0.071" in printed.out
    assert "tested by more than one run" in printed.err
    with pytest.raises(ConfigError, match="at least two different RUNs"):
        run_aggregate([evaluated / "one", evaluated / "one" / "eval"], seed=0)
