"""`distill.context`: a student that sees a slice's neighbours, from training to an exported file."""

import json

import numpy as np
import pytest
import torch
from support.painting_teacher import PaintingTeacher
from support.small_volumes import SIDE, SLICES, write_volumes

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.context import alone, with_neighbours
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import spread
from meddistill.data.sources.phantom import write_phantom
from meddistill.evaluation.judged_cases import judged_cases_of_run
from meddistill.evaluation.neighbours import Neighbours
from meddistill.run.dataset import Dataset
from meddistill.run.layout import RunDir
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.export import run_export
from meddistill.stages.predict import run_predict
from meddistill.stages.prepare import run_prepare
from meddistill.student.networks.encoders import match_tensors
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import load_student
from meddistill.training import fitting

CONFIG = DistillConfig(
    context=1,
    student="nested_unet",
    encoder_weights="none",
    image_size=SIDE,
    epochs=2,
    batch_size=8,
    lr=2e-2,
    feature_weight=0.0,
    picture_every=1,
    precision="32-true",
    targets=TargetsConfig(jitter_copies=1, views="whole"),
    colearning=ColearningConfig(unboxed="detected"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Volumes, and a student of them that sees one neighbour on each side."""
    root = tmp_path_factory.mktemp("context")
    write_volumes(root / "source")
    run = RunDir(root / "run")
    config = PrepareConfig(source=str(root / "source"), test_fraction=0.25, val_fraction=0.3)
    run_prepare(run, config, seed=0)
    patch = pytest.MonkeyPatch()
    patch.setattr(
        fitting,
        "build_student",
        lambda *_, **given: NestedUNet((4, 4, 6), in_channels=given["in_channels"]),
    )
    run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    patch.undo()
    return run


def test_the_border_repeats_and_the_order_is_kept():
    slices = [np.full((2, 3), value, np.uint8) for value in (10, 20, 30)]
    seen = with_neighbours(slices, 2)
    assert [each[0, 0].tolist() for each in seen] == [
        [10, 10, 10, 20, 30],
        [10, 10, 20, 30, 30],
        [10, 20, 30, 30, 30],
    ]
    odd = with_neighbours([slices[0], np.zeros((4, 4), np.uint8)], 1)
    assert odd[0][0, 0].tolist() == [10, 10, 10]
    assert alone(slices[0], 1).shape == (2, 3, 3)


def test_training_and_eval_see_the_same_neighbours(run):
    dataset = Dataset.open(run.data)
    case = next(c for c in dataset.of_split("test") if c.slice == 4)
    seen = dataset.seen(case, 1)
    by_slice = {c.slice: c for c in dataset.of_split("test") if c.volume == case.volume}
    for channel, number in enumerate((3, 4, 5)):
        np.testing.assert_array_equal(seen[..., channel], dataset.image(by_slice[number])[..., 0])
    judged = judged_cases_of_run(run.data, dataset.cases, "test").cases
    same = next(each for each in judged if each.case_id == case.case_id)
    found = Neighbours(judged).seen(same, dataset.image(case), 1, None)
    np.testing.assert_array_equal(found, seen)
    first = by_slice[0]
    np.testing.assert_array_equal(dataset.seen(first, 1)[..., 0], dataset.image(first)[..., 0])


def test_the_student_carries_it(run, tmp_path, capfd):
    student = load_student(run.student)
    assert json.loads((run.student / "preprocessing.json").read_text())["context"] == 1
    assert student.module.in_channels == 3
    image = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
    single = student.predict(image).probs
    np.testing.assert_array_equal(student.predict(alone(image, 1)).probs, single)
    source = next(run.root.parent.glob("source/imagesTr/*.nii.gz"))
    write_png(tmp_path / "a.png", image)
    run_predict(run.student, [str(source), str(tmp_path / "a.png")], tmp_path / "out")
    assert "1 single pictures, which have none" in capfd.readouterr().err
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) == SLICES + 2
    out = run_eval(run, EvalConfig(gallery_cases=1), seed=0)
    assert (out / "per_volume.csv").is_file()


def test_pictures_have_no_neighbours_to_learn_from(tmp_path):
    write_phantom(tmp_path / "source", cases=8, seed=0, size=64)
    run = RunDir(tmp_path / "run")
    run_prepare(run, PrepareConfig(source=str(tmp_path / "source"), dataset="folder"), seed=0)
    with pytest.raises(ConfigError, match=r"distill\.context=1 needs slices of volumes"):
        run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())


def test_a_student_and_its_preprocessing_must_agree(run, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((run.student / name).read_bytes())
    stored = json.loads((run.student / "preprocessing.json").read_text())
    (tmp_path / "preprocessing.json").write_text(json.dumps(stored | {"context": 2}))
    with pytest.raises(InputError, match=r"takes 3 channels, preprocessing\.json gives 5"):
        load_student(tmp_path)


def test_exported_it_takes_the_slices(run, tmp_path):
    from meddistill.student.export.torchscript import TorchScriptStudent

    path = run_export(run.student, file_format="torchscript", out=tmp_path / "student.pt")
    facts = json.loads((tmp_path / "student.pt.json").read_text())
    assert facts["context"] == "1"
    assert facts["input"].startswith("image: uint8 (batch, 3, height, width), grey")
    dataset = Dataset.open(run.data)
    seen = dataset.seen(dataset.cases[5], 1)
    got = TorchScriptStudent(path).predict_probs(np.moveaxis(seen, 2, 0)[None])
    expected = load_student(run.student).predict_probs([seen])[0]
    np.testing.assert_allclose(got[0, 0], expected, atol=1e-4)


def test_a_first_layer_of_colours_answers_equal_slices_as_it_did_a_grey_picture():
    colours = torch.randn(4, 3, 3, 3)
    wanted = {"stem.weight": torch.zeros(4, 5, 3, 3)}
    found = match_tensors(wanted, {"stem.weight": colours}, "file")["stem.weight"]
    grey = torch.rand(1, 1, 8, 8)
    before = torch.nn.functional.conv2d(grey.repeat(1, 3, 1, 1), colours)
    after = torch.nn.functional.conv2d(grey.repeat(1, 5, 1, 1), found)
    torch.testing.assert_close(after, before)
    assert spread((0.4, 0.5, 0.6), 5) == pytest.approx((0.5,) * 5)
