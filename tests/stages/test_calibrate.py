"""`meddistill calibrate` on a RUN of drawn slices: what it writes, says and refuses, and what `predict`
makes of it."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.numpy
import torch
from support.layouts import make_nifti
from support.painting_teacher import PaintingTeacher
from typer.testing import CliRunner

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.cli.app import app
from meddistill.colearning import second_opinion
from meddistill.data.boxes import fill_boxes, mask_to_boxes
from meddistill.data.context import with_neighbours
from meddistill.data.formats.pictures import load_picture, write_png
from meddistill.data.frames import Preprocessing
from meddistill.data.masks import read_mask
from meddistill.data.scans import read_scan
from meddistill.data.sources.phantom import write_phantom
from meddistill.evaluation.request import EvalRequest
from meddistill.evaluation.scores import ScoreRow
from meddistill.run.layout import RunDir
from meddistill.run.looks import OUTDATED
from meddistill.run.tables import read_cases
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages import calibrate
from meddistill.stages.calibrate import _given, run_calibrate
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.predict import PredictOptions, run_predict
from meddistill.stages.prepare import run_prepare
from meddistill.stages.status import survey
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.predictions_table import PredictionRow
from meddistill.student.student import load_student
from meddistill.student.trust.fits import Line, Meaning
from meddistill.student.trust.trust import FindingTrust, Trust, save_trust
from meddistill.training import fitting, trusting

SIZE = 64
CONFIG = DistillConfig(
    student="nested_unet",
    image_size=32,
    epochs=1,
    tiles="never",
    batch_size=4,
    targets=TargetsConfig(jitter_copies=0),
    feature_weight=0.0,
    precision="32-true",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A RUN with a student, most of whose cases are validation."""
    root = tmp_path_factory.mktemp("calibrate")
    write_phantom(root / "source", cases=60, seed=0, size=SIZE)
    run = RunDir(root / "run")
    config = PrepareConfig(
        source=str(root / "source"), dataset="folder", val_fraction=0.7, test_fraction=0.1
    )
    run_prepare(run, config, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_student", lambda *_, **__: NestedUNet([4, 6, 8]))
        run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    return run


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made.root, tmp_path / "run")
    return RunDir(tmp_path / "run")


@pytest.fixture
def seeing(run):
    """The RUN, with a threshold at which its student of one epoch finds something in every image."""
    student = load_student(run.student)
    images = [load_picture(path) for path in sorted((run.data / "images").glob("*/*.png"))]
    tops = [np.quantile(probs, 0.97) for probs in student.predict_probs(images)]
    path = run.student / "preprocessing.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "threshold": float(min(tops))}))
    return run


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_it_says_again_what_distill_said(run):
    before = files(run.student)
    assert {"trust.json", "trust.safetensors"} <= before.keys()
    told = json.loads(before["trust.json"])["facts"]
    trust = run_calibrate(run, device="cpu")
    assert trust.facts == told
    after = files(run.student)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after[name]}
    assert changed <= {"trust.json", "trust.safetensors"}
    assert trust.facts["findings"][0]["cases"] >= 30
    assert "fitted on" in " ".join(trust.facts["sentences"])


def test_of_a_large_validation_set_no_more_is_held_than_fits(run, made, monkeypatch):
    monkeypatch.setattr(trusting, "MOST_VALUES", 1000)
    trust = run_calibrate(run, ask_teacher=True, device="cpu", teacher=PaintingTeacher())
    told = json.loads((made.student / "trust.json").read_text())["facts"]["findings"][0]
    assert 20 < trust.facts["findings"][0]["cases"] <= 30 <= told["cases"]
    assert trust.facts["findings"][0]["cases"] < told["cases"]


def test_a_student_without_trust_gets_it(seeing, tmp_path):
    run = seeing
    for name in ("trust.json", "trust.safetensors"):
        (run.student / name).unlink()
    images = str(run.data / "images" / "test")
    out = run_predict(run.student, [images], tmp_path / "before", device="cpu")
    rows = read_table(out / "predictions.csv", PredictionRow)
    assert {row.familiarity for row in rows} == {row.review for row in rows} == {"unknown"}
    masks = {path.name: path.read_bytes() for path in (out / "masks").iterdir()}

    run_calibrate(run, device="cpu")
    out = run_predict(run.student, [images], tmp_path / "after", device="cpu")
    assert masks == {path.name: path.read_bytes() for path in (out / "masks").iterdir()}
    for row in read_table(out / "predictions.csv", PredictionRow):
        low, expected, high = (
            float(getattr(row, f"expected_dice{end}")) for end in ("_low", "", "_high")
        )
        assert 0 <= low <= expected <= high <= 1
        assert 0 < float(row.familiarity) <= 1
        assert 0 <= float(row.p_finding) <= 1
        assert row.review in ("yes", "no")
        assert bool(row.review_why) == (row.review == "yes")


def test_own_images_from_elsewhere_say_what_is_familiar(run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(5):
        noise = rng.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
        write_png(tmp_path / "own" / f"{number}.png", noise)
    trust = run_calibrate(run, images=[str(tmp_path / "own")], device="cpu")
    assert len(trust.likeness.held) == 5
    told = capsys.readouterr().err
    assert "only 5 own images" in told
    assert "No image can be called unfamiliar (below 0.05) by so few" in " ".join(told.split())
    reading = load_student(run.student).predict(noise).reading
    assert reading.familiarity > 0.1  # noise is what its own images look like now


def test_what_tells_of_the_calibration_before_is_renewed_or_named(run, tmp_path, capsys):
    judged = EvalConfig(baselines=False, threshold=0.4)
    run_eval(run, judged, EvalRequest(device="cpu"), seed=0)
    assert "| this student |" in (run.student / "README.md").read_text()
    for name in ("student.onnx", "student.int8.onnx"):
        (run.student / name).touch()
        about = {"weights": "int8" if "int8" in name else "float32"}
        (run.student / f"{name}.json").write_text(json.dumps(about))
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
    write_png(tmp_path / "own" / "noise.png", noise)
    capsys.readouterr()
    run_calibrate(run, images=[str(tmp_path / "own")], device="cpu")
    told = " ".join(capsys.readouterr().err.split())
    assert f"{run.student / 'student.onnx'} still gives what was known before; run" in told
    assert "int8" not in told
    assert "has not been measured" in (run.student / "README.md").read_text()
    (look,) = (each for each in survey(run) if each.directory == run.eval)
    assert look.state == OUTDATED
    assert "calibrated again" in look.text
    with pytest.raises(StageError, match=r"inputs\.trust was"):
        run_eval(run, judged, EvalRequest(device="cpu"), seed=0)
    run_eval(run, judged, EvalRequest(device="cpu", overwrite=True), seed=0)
    assert "| this student |" in (run.student / "README.md").read_text()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ""),
        ({"data": "other"}, "learned from other data than"),
        ({"targets": "other"}, "holds other targets now than those that taught"),
    ],
)
def test_what_did_not_teach_the_student_is_told(run, capsys, changed, told):
    record = json.loads((run.student / "run.json").read_text())
    record["inputs"] |= changed
    (run.student / "run.json").write_text(json.dumps(record))
    run_calibrate(run, device="cpu")
    said = " ".join(capsys.readouterr().err.split())
    assert told in said
    assert bool(changed) == ("other data than" in said or "other targets now" in said)


def test_own_images_that_cannot_be_read_are_left_out(run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        noise = rng.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
        write_png(tmp_path / "own" / f"{name}.png", noise)
    (tmp_path / "own" / "broken.png").write_text("no image")
    trust = run_calibrate(run, images=[str(tmp_path / "own")], device="cpu")
    assert len(trust.likeness.held) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"warning: {tmp_path / 'own' / 'broken.png'} cannot be read" in told
    before = files(run.student)
    with pytest.raises(
        InputError, match=r"none of the 1 image\(s\) of --images can be read; first"
    ):
        run_calibrate(run, images=[str(tmp_path / "own" / "broken.png")], device="cpu")
    assert files(run.student) == before


def given_by_hand(run, folder, *, noise):
    """All images of RUN, under names of their own, and some that it has not seen."""
    paths = sorted((run.data / "images").glob("*/*.png"))
    for number, path in enumerate(paths):
        write_png(folder / f"scan {number}.png", load_picture(path))
    rng = np.random.default_rng(0)
    for number in range(noise):
        image = rng.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
        write_png(folder / f"new {number}.png", image)
    return len(paths)


def test_own_images_that_taught_it_are_left_out(run, tmp_path, capsys):
    count = given_by_hand(run, tmp_path / "own", noise=45)
    knew = len([case for case in read_cases(run.data) if case.split != "test"])
    trust = run_calibrate(run, images=[str(tmp_path / "own")], device="cpu")
    assert len(trust.likeness.held) == count + 45 - knew
    told = " ".join(capsys.readouterr().err.split())
    assert f"warning: {knew} of {count + 45} images of --images are training or validation" in told


@pytest.mark.parametrize("folders", [["train"], ["train", "val"], ["train", "test"]])
def test_own_images_of_which_too_few_are_new_are_refused(run, folders):
    before = files(run.student)
    images = [str(run.data / "images" / folder) for folder in folders]
    left = len(list((run.data / "images" / "test").iterdir())) if "test" in folders else 0
    with pytest.raises(InputError, match=rf"images of the student, and {left} are not: too few"):
        run_calibrate(run, images=images, device="cpu")
    assert files(run.student) == before


def test_own_images_that_are_all_the_same_are_said(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
    for number in range(30):
        write_png(tmp_path / "own" / f"{number}.png", noise)
    trust = run_calibrate(run, images=[str(tmp_path / "own")], device="cpu")
    assert "All 30 look the same" in trust.facts["too_few"][0]


def test_answers_that_are_no_numbers_are_said_in_a_line(run):
    """Where what makes them of the features is damaged alone."""
    path = run.student / "model.safetensors"
    weights = safetensors.numpy.load_file(path)
    weights["final.bias"] = weights["final.bias"] * np.nan
    safetensors.numpy.save_file(weights, path)
    with pytest.raises(
        InputError, match=r"answers to \d+ of \d+ images are not finite.*settings of its run.json"
    ):
        run_calibrate(run, device="cpu")


def test_a_teacher_that_is_missing_is_said_before_minutes_go_by(run, monkeypatch):
    monkeypatch.setattr(calibrate, "fit_trust", lambda *_: pytest.fail("fitted first"))
    (run.student / "run.json").unlink()
    with pytest.raises(InputError, match="names no teacher to ask"):
        run_calibrate(run, ask_teacher=True, device="cpu")


def test_a_further_student_says_what_its_own_evaluation_measured(run, tmp_path, capsys):
    shutil.copytree(run.student, run.root / "student-b")
    request = EvalRequest(student=run.root / "student-b", out=run.root / "judged-b")
    out = run_eval(run, EvalConfig(baselines=False), request, seed=0)
    (sentence, *_) = json.loads((out / "summary.json").read_text())["of_itself"]["sentences"][""]
    capsys.readouterr()
    images = [str(run.data / "images" / "test")]
    run_predict(run.root / "student-b", images, tmp_path / "out", device="cpu")
    assert f"measured by eval: {sentence}" in capsys.readouterr().err


def test_own_volumes_are_seen_as_predict_sees_them(tmp_path):
    """With the neighbours of each slice, as what is called familiar later has them, too."""
    make_nifti(tmp_path)
    paths = sorted((tmp_path / "imagesTr").glob("*.nii.gz"))[:2]
    student = SimpleNamespace(preprocessing=Preprocessing(context=1))
    given = [load() for load in _given([str(path) for path in paths], student)]
    wanted = [each for path in paths for each in with_neighbours(read_scan(path).images, 1)]
    assert len(given) == len(wanted) > 2
    for one, other in zip(given, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_review_sheet_is_one_page_worst_first(run, tmp_path):
    odd = tmp_path / "odd.png"
    coloured = np.random.default_rng(0).integers(0, 255, (SIZE, 3 * SIZE, 3), dtype=np.uint8)
    write_png(odd, coloured)
    paths = [str(run.data / "images" / "test"), str(odd)]
    out = run_predict(
        run.student, paths, tmp_path / "out", PredictOptions(review_sheet=True), device="cpu"
    )
    page = (out / "review.html").read_text()
    names = [part.split("<")[0] for part in page.split("<figcaption><b>")[1:]]
    assert names[0] == "odd"
    assert "in colour, trained on grey images" in page
    assert "http" not in page
    assert "<script" not in page
    assert len(page) < 20_000 * len(names)  # so that 1,000 images take less than 20 MB


def test_the_share_that_ends_last_writes_the_sheet_of_all(run, tmp_path):
    images = [str(run.data / "images" / "test")]
    for shard in ("2/2", "1/2"):
        assert not (tmp_path / "out" / "review.html").exists()
        options = PredictOptions(review_sheet=True, shard=shard)
        run_predict(run.student, images, tmp_path / "out", options, device="cpu")
    page = (tmp_path / "out" / "review.html").read_text()
    assert page.count("<figure") == len(list((run.data / "images" / "test").iterdir()))


def test_of_masks_cut_elsewhere_no_dice_is_expected(seeing, tmp_path):
    run = seeing
    run_calibrate(run, device="cpu")
    images = [str(run.data / "images" / "test")]
    options = PredictOptions(threshold=0.9)
    out = run_predict(run.student, images, tmp_path / "out", options, device="cpu")
    for row in read_table(out / "predictions.csv", PredictionRow):
        assert {row.expected_dice, row.expected_dice_low, row.expected_dice_high} == {"unknown"}
        assert 0 <= float(row.p_finding) <= 1
        assert 0 < float(row.familiarity) <= 1
    with pytest.raises(ConfigError, match="leave --threshold away"):
        PredictOptions(threshold=0.9, ask_teacher=True)
    judged = run_eval(run, EvalConfig(baselines=False, threshold=0.9), EvalRequest(), seed=0)
    told = json.loads((judged / "summary.json").read_text())["of_itself"]["by_finding"][""]
    assert told["expected"] is None
    assert told["present"] is not None


def test_eval_says_how_far_its_word_can_be_trusted(run, tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, 3 * SIZE, 3), dtype=np.uint8)
    write_png(tmp_path / "far" / "noise.png", noise)
    request = EvalRequest(foreign=(str(tmp_path / "far"),))
    out = run_eval(run, EvalConfig(baselines=False), request, seed=0)
    told = json.loads((out / "summary.json").read_text())["of_itself"]
    assert told["flags"]["far"]["odd"] == 1  # coloured
    assert told["flags"]["own"]["images"] == told["by_finding"][""]["images"] == 6
    assert 0 <= told["by_finding"][""]["expected"]["covered"] <= 1
    printed = capsys.readouterr().out
    assert all(sentence in printed for sentence in told["sentences"][""] + told["fitted_on"])
    rows = read_table(out / "per_case.csv", ScoreRow)
    assert all(0 < row.expected_dice < 1 and row.review is not None for row in rows)
    page = (out / "report.html").read_text()
    for part in ("Risk by coverage", "(FROC)", "before and after calibration", "unfamiliar (p"):
        assert part in page

    images = [str(run.data / "images" / "test")]
    run_predict(run.student, images, tmp_path / "before", device="cpu")
    printed = capsys.readouterr().err
    assert all(f"measured by eval: {sentence}" in printed for sentence in told["sentences"][""])

    run_calibrate(run, images=[str(tmp_path / "far")], device="cpu")
    run_predict(run.student, images, tmp_path / "after", device="cpu")
    assert "measured by eval" not in capsys.readouterr().err  # that was of what it said before
    with pytest.raises(StageError, match="trust was"):
        run_eval(run, EvalConfig(baselines=False), request, seed=0)


def test_figures_of_images_that_fitted_it_are_not_said_to_be_measured(run, tmp_path, capsys):
    out = run_eval(run, EvalConfig(baselines=False, split="val"), seed=0)
    told = json.loads((out / "summary.json").read_text())["of_itself"]
    assert told["sentences"][""][0].startswith("What follows is of val images, which fitted it")
    run_predict(run.student, [str(run.data / "images" / "test")], tmp_path / "out", device="cpu")
    assert "measured by eval" not in capsys.readouterr().err


def test_what_was_fitted_in_vain_needs_other_images(run, tmp_path, capsys):
    save_trust(run.student, Trust((FindingTrust(),), None, facts={}))
    run_predict(run.student, [str(run.data / "images" / "test")], tmp_path / "out", device="cpu")
    assert "`meddistill calibrate RUN --images DIR` fits" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_teacher_whose_opinion_nobody_could_fit_is_not_asked(run, tmp_path, monkeypatch, capsys):
    table = run.teacher / "quality.csv"
    lines = table.read_text().splitlines()
    val = [line for line in lines[1:] if ",val," in line]
    table.write_text("\n".join([line for line in lines if line not in val[1:]]) + "\n")
    trust = run_calibrate(run, ask_teacher=True, device="cpu", teacher=PaintingTeacher())
    assert "are needed" in trust.facts["too_few"][-1]
    capsys.readouterr()
    out = asked(run, tmp_path, monkeypatch, ask_teacher=True)
    printed = " ".join(capsys.readouterr().err.split())
    assert "warning: the teacher is not asked" in printed
    assert "was asked about" not in printed
    assert read_table(out / "predictions.csv", PredictionRow)


def test_an_eval_of_a_student_without_trust_says_nothing_of_it(run, tmp_path, capsys):
    for name in ("trust.json", "trust.safetensors"):
        (run.student / name).unlink()
    request = EvalRequest(foreign=(str(run.data / "images" / "test"),))
    out = run_eval(run, EvalConfig(baselines=False), request, seed=0)
    assert "of_itself" not in json.loads((out / "summary.json").read_text())
    assert "expected_dice" not in (out / "per_case.csv").read_text()
    assert "meddistill calibrate" in capsys.readouterr().err


class OtherTeacher(PaintingTeacher):
    fingerprint = "painting-2"


def asked(run, tmp_path, monkeypatch, teacher=PaintingTeacher, **options):
    monkeypatch.setattr(second_opinion, "load_teacher", lambda *_, **__: teacher())
    images = str(run.data / "images" / "test")
    return run_predict(
        run.student, [images], tmp_path / "asked", PredictOptions(**options), device="cpu"
    )


def test_the_teacher_sharpens_what_is_expected(seeing, tmp_path, monkeypatch, capsys):
    run = seeing
    images = str(run.data / "images" / "test")
    with pytest.raises(InputError, match="calibrate RUN --ask-teacher"):
        asked(run, tmp_path / "early", monkeypatch, ask_teacher=True)
    trust = run_calibrate(run, ask_teacher=True, device="cpu", teacher=PaintingTeacher())
    assert trust.teacher.fingerprint == "painting-1"
    (of,) = load_student(run.student).trust.findings
    assert "Its targets favour it" in " ".join(trust.facts["sentences"])
    # What a student of one epoch learns to expect differs by processor, and is next to nothing.
    surely = dataclasses.replace(of.asked, line=Line(0 * of.asked.line.weights, 3.0))
    of = dataclasses.replace(of, asked=surely)
    save_trust(run.student, dataclasses.replace(trust, findings=(of,)))
    alone = run_predict(run.student, [images], tmp_path / "alone", device="cpu")
    capsys.readouterr()
    out = asked(run, tmp_path, monkeypatch, ask_teacher=True)
    assert "painting was asked about" in capsys.readouterr().err
    for one, other in zip(
        read_table(alone / "predictions.csv", PredictionRow),
        read_table(out / "predictions.csv", PredictionRow),
        strict=True,
    ):
        assert (other.agreement is not None, other.refined) == (other.area_px > 0, False)
        told = [(row.expected_dice, row.expected_dice_high) for row in (one, other)]
        assert (told[0] != told[1]) == (other.area_px > 0)
        assert other.expected_dice == ("0.9526" if other.area_px else one.expected_dice)
        assert (one.area_px, one.p_finding) == (other.area_px, other.p_finding)
    stamp = (out / "predicted.jsonl").stat().st_mtime_ns
    asked(run, tmp_path, monkeypatch, ask_teacher=True)
    assert (out / "predicted.jsonl").stat().st_mtime_ns == stamp  # nobody is asked twice
    with pytest.raises(InputError, match="another teacher here"):
        asked(run, tmp_path / "other", monkeypatch, OtherTeacher, ask_teacher=True)
    for forgets in (True, False):
        capsys.readouterr()
        assert run_calibrate(run, device="cpu").teacher is None
        assert ("--ask-teacher fits it again" in capsys.readouterr().err) == forgets


def test_the_teachers_mask_stands_where_it_is_better(seeing, tmp_path, monkeypatch):
    run = seeing
    trust = run_calibrate(run, ask_teacher=True, device="cpu", teacher=PaintingTeacher())
    (of,) = trust.findings
    surely = dataclasses.replace(of.refined, line=Line(0 * of.refined.line.weights, 3.0))
    of = dataclasses.replace(of, refined=surely)
    save_trust(run.student, dataclasses.replace(trust, findings=(of,)))
    rows = read_table(
        asked(run, tmp_path, monkeypatch, refine=True) / "predictions.csv", PredictionRow
    )
    assert all(row.refined for row in rows)
    assert {row.expected_dice for row in rows} == {"0.9526"}
    for row in rows:  # a filled box, or several
        mask = read_mask(tmp_path / "asked" / row.mask)
        assert (mask == fill_boxes(mask_to_boxes(mask), mask.shape)).all()


def test_volumes_are_cut_as_the_student_s_own_were(run, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.random.default_rng(0).integers(0, 255, (SIZE, 6, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    path = run.student / "preprocessing.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "axis": 1}))
    trust = run_calibrate(run, images=[str(tmp_path / "a.nii")], device="cpu")
    assert len(trust.likeness.held) == 6


def test_the_exported_student_asks_nobody():
    with pytest.raises(ConfigError, match="need --backend torch"):
        PredictOptions(refine=True, backend="onnx")


def test_the_command_calls_it(run):
    done = CliRunner().invoke(app, ["calibrate", str(run.root), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert json.loads((run.student / "trust.json").read_text())["facts"]["held"] > 0


def test_what_is_missing_is_named(run, tmp_path):
    with pytest.raises(InputError, match="is not a student"):
        run_calibrate(run, student_dir=tmp_path, device="cpu")
    with pytest.raises(InputError, match="does not exist"):
        run_calibrate(run, images=[str(tmp_path / "nowhere")], device="cpu")
    (run.teacher / "run.json").unlink()
    with pytest.raises(StageError, match="meddistill distill"):
        run_calibrate(run, device="cpu")


@pytest.mark.parametrize("kept", [0, 1])
def test_few_validation_cases_are_said(run, kept, capsys):
    table = run.teacher / "quality.csv"
    lines = table.read_text().splitlines()
    val = [line for line in lines[1:] if ",val," in line]
    table.write_text("\n".join([line for line in lines if line not in val[kept:]]) + "\n")
    trust = run_calibrate(run, device="cpu")
    assert trust.findings[0].expected is None
    assert f"unknown: {kept} validation case(s)" in " ".join(trust.facts["sentences"])
    printed = " ".join(capsys.readouterr().err.split())
    assert "warning: Expected Dice is unknown" in printed
    assert "raise prepare.val_fraction" in printed
    assert ("warning: Probabilities are as the network gives them" in printed) == (kept == 0)
    said = "calibrated on 1 validation image(s), which is few to go by" in " ".join(
        trust.facts["sentences"]
    )
    assert said == (trust.findings[0].meaning != Meaning()) == (kept == 1)
    assert load_student(run.student).predict(np.zeros((8, 8), np.uint8)).reading is not None


def test_where_memory_runs_out_images_are_seen_in_halves():
    tried = []

    class Module:
        def forward_with_features(self, frames):
            tried.append(len(frames))
            if len(frames) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return frames[:, :1], [frames]

    frames = torch.rand(5, 3, 8, 8)
    student = SimpleNamespace(module=Module())
    logits, features = trusting._seen_at_once(student, frames)
    assert tried == [5, 3, 2, 1, 2]
    assert torch.equal(logits, frames[:, :1])
    assert torch.allclose(features, frames.mean((2, 3)), atol=1e-5)
