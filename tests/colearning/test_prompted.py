"""The teacher as a rival: prompted by student, heads and true boxes; nobody is asked twice."""

import numpy as np
import pytest
import torch
from support.bright_squares import SIZE, prepare_squares
from support.evaluation_data import BrightnessStudent, finish
from support.painting_teacher import PaintingTeacher

from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.files import read_json
from meddistill.colearning import prompted
from meddistill.colearning.cell_head import CellHead
from meddistill.colearning.head_files import load_heads, save_heads
from meddistill.evaluation.box_scores import BoxScoreRow
from meddistill.evaluation.request import EvalRequest
from meddistill.run.layout import HEADS_NPZ, QUALITY_CSV, RunDir
from meddistill.run.record import Stage
from meddistill.run.tables import QualityRow
from meddistill.settings.evaluate import EvalConfig
from meddistill.stages.evaluate import run_eval


def bright_head():
    """Lesion where it is bright."""
    head = CellHead(torch.zeros(3), torch.ones(3))
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    head.layers = torch.nn.Linear(3, 1)
    torch.nn.init.constant_(head.layers.weight, 0.05)
    torch.nn.init.constant_(head.layers.bias, -0.05 * 3 * 120)
    return head.eval()


@pytest.fixture
def run(tmp_path):
    run = prepare_squares(tmp_path, count=12, boxed=3)
    run.student.mkdir()
    settings = {"teacher": "painting", "image_size": SIZE, "targets": {}}
    Stage.open(run.student, "distill", settings, {}, refresh=True).finish({}, [])
    write_table(run.teacher / QUALITY_CSV, QualityRow, [])
    finish(run.teacher, "teacher")
    return run


def evaluate(run, teacher, **config):
    request = EvalRequest(out=run.root / "eval", overwrite=True)
    return run_eval(
        run,
        EvalConfig(**config),
        request,
        seed=0,
        predictor=BrightnessStudent(),
        teacher=teacher,
    )


def dice(out, method):
    return read_json(out / "summary.json")["methods"][method]["metrics"]["dice"]["mean"]


def test_heads_are_read_back_as_they_were(tmp_path):
    torch.manual_seed(0)
    head = CellHead(torch.rand(3), torch.rand(3)).eval()
    save_heads(tmp_path, [head, head], [0.35])
    found = load_heads(tmp_path)
    cells = torch.rand(5, 3)
    assert found.thresholds == [0.35]
    assert len(found.heads) == 2
    assert torch.equal(found.heads[1](cells), head(cells))
    assert found.heads[1].levels == ("embedding",)
    assert load_heads(tmp_path / "nowhere") is None
    two = CellHead(torch.rand(3), torch.rand(3), levels=("embedding", "stage2"))
    save_heads(tmp_path, [two], [0.35])
    assert load_heads(tmp_path).heads[0].levels == ("embedding", "stage2")
    with np.load(tmp_path / HEADS_NPZ) as arrays:
        earlier = {name: arrays[name] for name in arrays.files if name != "levels"}
    np.savez(tmp_path / HEADS_NPZ, **earlier)
    assert load_heads(tmp_path).heads[0].levels == ("embedding",)
    (tmp_path / HEADS_NPZ).write_bytes(b"no archive")
    assert load_heads(tmp_path) is None


def test_the_students_and_the_heads_boxes_prompt_the_teacher(run, monkeypatch):
    save_heads(run.student, [CellHead(torch.zeros(3), torch.ones(3))], [0.5])
    heads = prompted.Heads([bright_head()], [0.5])
    monkeypatch.setattr(prompted, "load_heads", lambda _: heads)
    teacher = PaintingTeacher()
    out = evaluate(run, teacher)
    # A teacher that fills boxes is right about squares.
    assert dice(out, "teacher_student") > 0.97
    assert dice(out, "teacher_head") > 0.7
    n_test = read_json(out / "summary.json")["n_cases"]
    assert teacher.images == n_test
    page = (out / "report.html").read_text()
    assert (
        "prompted by the student&#39;s boxes" in page or "prompted by the student's boxes" in page
    )


def test_nobody_is_asked_again_and_pictures_do_not_cost_another_look(run):
    first = PaintingTeacher()
    evaluate(run, first, ask_teacher="always")
    second = PaintingTeacher()
    out = evaluate(run, second, ask_teacher="always", gallery_cases=5)
    assert first.images > 0
    assert second.images == 0
    assert dice(out, "teacher_student") > 0.97


def test_where_all_is_boxed_and_masks_are_there_the_teacher_is_left_alone(run):
    teacher = PaintingTeacher()
    out = evaluate(run, teacher)
    assert teacher.images == 0
    assert list(read_json(out / "summary.json")["methods"]) == ["student"]
    assert "teacher_student" not in read_json(out / "summary.json")["skipped"]


def test_without_masks_the_teacher_answers_the_true_boxes(run):
    cases = run.data / "cases.csv"
    lines = cases.read_text().splitlines()
    column = lines[0].split(",").index("has_mask")
    rows = [line.split(",") for line in lines[1:]]
    for row in rows:
        row[column] = "0"
    cases.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
    out = evaluate(run, PaintingTeacher())
    rows = read_table(out / "per_case_boxes.csv", BoxScoreRow)
    assert {row.method for row in rows} == {"student", "teacher_student"}
    assert np.mean([row.agreement for row in rows if row.method == "student"]) > 0.97
    facts = read_json(out / "run.json")["results"]["by_boxes"]["student"]
    assert facts["agreement"]["mean"] > 0.97


def test_a_teacher_that_is_gone_is_said_in_one_line(run, capsys, monkeypatch):
    save_heads(run.student, [CellHead(torch.zeros(3), torch.ones(3))], [0.5])
    out = evaluate(run, None)
    told = " ".join(capsys.readouterr().err.split())
    assert "the weights of painting are not on this machine" in told
    assert list(read_json(out / "summary.json")["methods"]) == ["student"]


def test_an_image_without_a_box_has_an_empty_answer(run):
    asked = prompted.prompted_teacher(
        RunDir(run.root),
        run.student,
        run.data,
        device="cpu",
        download=False,
        given=PaintingTeacher(),
    )
    case = next(iter(asked.dataset.cases))
    judged = type("Judged", (), {"case_id": case.case_id, "mask": None, "boxes": None})()
    found = asked(judged, prompted.Guess(np.zeros((1, case.height, case.width), bool)))
    assert not found["teacher_student"].masks.any()
    assert set(found) == {"teacher_student"}
