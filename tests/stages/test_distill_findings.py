"""Several findings from boxes to a student: targets of what is there, no loss of what nobody looked
for, a channel and a threshold each."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.label_maps import label_maps
from support.painting_teacher import PaintingTeacher

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError
from meddistill.base.files import read_json
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import load_labels, read_rgb
from meddistill.evaluation.request import EvalRequest
from meddistill.run.dataset import Dataset
from meddistill.run.layout import QUALITY_CSV, RunDir
from meddistill.run.tables import QualityRow, read_cases
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.export import run_export
from meddistill.stages.predict import run_predict
from meddistill.stages.prepare import run_prepare
from meddistill.student.export.torchscript import TorchScriptStudent
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.predictions_table import PredictionRow
from meddistill.student.student import load_student
from meddistill.targets import packing
from meddistill.targets.asking import Answer
from meddistill.targets.cache import TargetFolders, write_target
from meddistill.targets.packing import Packing, pack_targets
from meddistill.targets.scores import Scores
from meddistill.training.losses import soft_bce_loss
from meddistill.training.step import _by_finding, _over_known

AB = Findings(("a", "b"))
CONFIG = DistillConfig(
    student="nested_unet",
    image_size=32,
    epochs=1,
    batch_size=4,
    threshold=None,
    targets=TargetsConfig(jitter_copies=1, views="whole"),
    precision="32-true",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    source = label_maps(root / "source", count=8)
    rows = (f"c{index},g{index},{'a' if index % 2 else 'a;b'}" for index in range(8))
    (source / "groups.csv").write_text("id,group,findings\n" + "\n".join(rows) + "\n")
    run = RunDir(root / "run")
    config = PrepareConfig(source=str(source), val_fraction=0.3, findings=["a=1", "b=2"])
    run_prepare(run, config, seed=0)
    return run


@pytest.fixture(scope="module")
def distilled(prepared):
    teacher = PaintingTeacher()
    run_distill(prepared, CONFIG, device="cpu", teacher=teacher)
    return prepared, teacher


def test_a_row_and_a_file_is_of_a_case_and_finding_and_an_image_is_encoded_once(distilled):
    run, teacher = distilled
    rows = read_table(run.teacher / QUALITY_CSV, QualityRow)
    learning = [case for case in read_cases(run.data) if case.split != "test"]
    told = {(row.case_id, row.finding) for row in rows}
    assert told == {
        (case.case_id, name) for case in learning for name in "ab" if case.looked_for(name)
    }
    assert len(list((run.teacher / "targets").iterdir())) == len(rows)
    basis = len([case for case in learning if case.split == "train"])  # it looks at them, too
    assert teacher.images == len(learning) + basis


def test_what_nobody_looked_for_is_not_known(distilled):
    run, _ = distilled
    rows = read_table(run.teacher / QUALITY_CSV, QualityRow)
    dataset = Dataset.open(run.data)
    packed = pack_targets(rows, Packing(dataset, TargetFolders(run.teacher), 32, AB))
    batch = packed.batch(torch.arange(len(packed)))
    for place, case_id in enumerate(packed.case_ids):
        known = dataset.by_id[case_id].looked_for("b")
        assert batch.known[place].tolist() == [1, float(known)]
        assert bool(batch.probs[place, 1].any()) is known
        assert batch.probs[place, 0].any()


def _target_of(tmp_path, boxes):
    """What a case teaches whose masks of a and b fill two boxes of the frame."""
    rows = []
    for name, (x1, y1, x2, y2), prob in zip("ab", boxes, (0.9, 0.8), strict=True):
        probs = torch.zeros(16, 16)
        probs[y1:y2, x1:x2] = prob
        write_target(tmp_path, "c", name * 4, Answer(probs, torch.zeros(16, 16), Scores()))
        numbers = (0.0,) * 7
        rows.append(
            QualityRow("c", "train", "annotated", 1, name * 4, *numbers, True, "", 1.0, name)
        )
    return packing.case_target(rows, Packing(None, TargetFolders(tmp_path), 16, AB))


def test_masks_that_exclude_each_other_are_settled_by_probability(tmp_path):
    target, contested, swallows = _target_of(tmp_path, [(0, 0, 8, 8), (7, 0, 15, 8)])
    assert contested
    assert swallows == []
    assert target.pixel_weight is None
    assert target.probs[:, 0, 7] == pytest.approx([0.9, 0.1], abs=0.01)
    assert target.probs[:, 0, 9] == pytest.approx([0, 0.8], abs=0.01)


def test_a_ring_is_unknown_where_its_mask_swallows_what_it_surrounds(tmp_path):
    target, _, swallows = _target_of(tmp_path, [(0, 0, 14, 14), (4, 4, 9, 9)])
    assert swallows == [("a", "b")]
    assert target.pixel_weight[0, 5, 5] == 0
    assert target.pixel_weight[0, 1, 1] == 1
    assert target.pixel_weight[1].min() == 1
    assert target.probs[1, 5, 5] == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("split", "count"), [("train", 1), ("val", 0)])
def test_what_rings_swallow_is_said_of_training_alone(distilled, monkeypatch, capsys, split, count):
    run, _ = distilled
    rows = [
        dataclasses.replace(row, split=split)
        for row in read_table(run.teacher / QUALITY_CSV, QualityRow)
    ]
    case_target = packing.case_target

    def swallowing(*given):
        target, contested, _ = case_target(*given)
        return target, contested, [("a", "b")]

    monkeypatch.setattr(packing, "case_target", swallowing)
    pack_targets(rows, Packing(Dataset.open(run.data), TargetFolders(run.teacher), 32, AB))
    cases = len({row.case_id for row in rows})
    told = capsys.readouterr().err
    assert told.count(f"'a' swallow 'b' in {cases} of {cases} training cases") == count
    assert told.count("swallow") == count


def test_the_student_tells_them_apart_and_has_a_threshold_for_each(distilled):
    run, _ = distilled
    student = load_student(run.student)
    assert student.preprocessing.findings == AB
    assert len(student.preprocessing.thresholds) == 2
    prediction = student.predict(np.zeros((40, 48), np.uint8))
    assert prediction.probs.shape == (2, 40, 48)
    assert prediction.mask.shape == (40, 48)
    assert prediction.mask.max() <= 2


def test_a_finding_that_is_not_known_gives_no_loss_and_no_gradient():
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    target, sure = torch.ones(1, 2, 4, 4), torch.ones(1, 2, 4, 4)
    known = torch.tensor([[1.0, 0.0]])
    loss = _over_known(_by_finding(soft_bce_loss, logits, target, sure), known)
    loss.sum().backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad[0, 0].abs().sum() > 0
    assert logits.grad[0, 1].abs().sum() == 0


@pytest.mark.parametrize(
    "settings",
    [{"prior_weight": 1.0}],
)
def test_what_knows_one_finding_is_refused(prepared, tmp_path, settings):

    config = dataclasses.replace(CONFIG, **settings)
    with pytest.raises(ConfigError, match="goes with one finding, and this RUN has several"):
        run_distill(prepared, config, device="cpu", out=tmp_path / "student")


def test_predict_gives_a_label_map_an_image_and_a_row_a_finding(distilled, tmp_path):
    run, _ = distilled
    student = load_student(run.student)
    options = PredictOptions(probabilities=True, overlays=True)
    out = run_predict(run.student, [str(run.data / "images" / "test")], tmp_path / "out", options)
    rows = read_table(out / "predictions.csv", PredictionRow)
    assert [row.finding for row in rows] == ["a", "b"] * 2
    for row in rows:
        labels = load_labels(out / row.mask)[0]
        image = read_rgb(Path(row.source))
        np.testing.assert_array_equal(labels, student.predict(image).mask)
        assert row.area_px == (labels == 1 + "ab".index(row.finding)).sum()
        assert (out / "probabilities" / row.finding / Path(row.mask).name).is_file()


def test_eval_judges_each(distilled, tmp_path):
    run, _ = distilled
    out = run_eval(run, EvalConfig(gallery_cases=2), EvalRequest(out=tmp_path / "eval"), seed=0)
    scores = read_json(out / "summary.json")["methods"]["student"]["by_finding"]
    tested = [case for case in read_cases(run.data) if case.split == "test"]
    assert set(scores) == {name for name in "ab" for case in tested if case.looked_for(name)}


def test_an_export_has_a_channel_each_and_the_card_names_them(distilled, tmp_path):
    run, _ = distilled
    path = run_export(run.student, file_format="torchscript")
    facts = read_json(path.with_name(f"{path.name}.json"))
    assert facts["findings"] == '["a", "b"]'
    assert facts["exclusive"] == "true"
    student = load_student(run.student)
    assert json.loads(facts["thresholds"]) == list(student.preprocessing.cuts)
    image = read_rgb(next((run.data / "images" / "test").iterdir()))
    probs = TorchScriptStudent(path).predict_probs(image.transpose(2, 0, 1)[None].copy())[0]
    assert probs.shape == (2, *image.shape[:2])
    masks = AB.masks(probs, json.loads(facts["thresholds"]))
    np.testing.assert_array_equal(AB.encode(masks), student.predict(image).mask)
    card = (run.student / "README.md").read_text()
    assert "Finds a and b in single images" in card
    assert "uint8: 0 nothing; 1 a; 2 b" in card


@pytest.mark.slow
def test_the_exported_student_predicts_the_same_label_maps(distilled, tmp_path):
    pytest.importorskip("onnxscript")
    run, _ = distilled
    run_export(run.student, overwrite=True)
    images = [str(run.data / "images" / "test")]
    outs = [
        run_predict(run.student, images, tmp_path / backend, PredictOptions(backend=backend))
        for backend in ("torch", "onnx")
    ]
    for path in (outs[0] / "masks").iterdir():
        pixels = [load_labels(out / "masks" / path.name)[0] for out in outs]
        assert (pixels[0] != pixels[1]).mean() < 0.01
