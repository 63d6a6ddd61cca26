"""Small lesions in large images: training and prediction in tiles, from `distill` to `eval`."""

import json

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher
from support.tiny_student import TinyStudent

from meddistill.base.csv_tables import read_table
from meddistill.data.formats.pictures import write_png
from meddistill.evaluation.scores import read_scores
from meddistill.run.dataset import Dataset
from meddistill.run.layout import PER_CASE_CSV, QUALITY_CSV, RunDir
from meddistill.run.tables import QualityRow
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.distill import run_distill
from meddistill.stages.evaluate import run_eval
from meddistill.stages.prepare import run_prepare
from meddistill.student.preprocessing_file import read_preprocessing
from meddistill.student.student import Student
from meddistill.targets.cache import load_target
from meddistill.training import fitting

SIDE = 32
LESION = 6
CONFIG = DistillConfig(
    encoder_weights="none",
    image_size=SIDE,
    epochs=12,
    batch_size=4,
    lr=1e-2,
    targets=TargetsConfig(jitter_copies=1),
    precision="32-true",
)


def draw(seed, size_hw):
    """A grey image with a bright square of 6 px, and its mask."""
    random = np.random.default_rng(seed)
    image = random.integers(20, 60, size_hw).astype(np.uint8)
    top, left = (int(random.integers(4, length - 12)) for length in size_hw)
    mask = np.zeros(size_hw, np.uint8)
    mask[top : top + LESION, left : left + LESION] = 255
    image[mask > 0] = 200
    return image, mask


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiles")
    for seed in range(14):
        image, mask = draw(seed, (150, 190))
        write_png(root / "source/images" / f"c{seed}.png", image)
        write_png(root / "source/masks" / f"c{seed}.png", mask)
    run = RunDir(root / "run")
    config = PrepareConfig(source=str(root / "source"), test_fraction=0.2, val_fraction=0.2)
    run_prepare(run, config, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())
        run_distill(run, CONFIG, device="cpu", teacher=PaintingTeacher())
    return run


@pytest.fixture(scope="module")
def student(run):
    module = TinyStudent()
    from safetensors.torch import load_file

    module.load_saved_state(load_file(run.student / "model.safetensors"))
    return Student(module, read_preprocessing(run.student / "preprocessing.json"))


def test_targets_have_the_images_own_resolution(run):
    dataset = Dataset.open(run.data)
    for row in read_table(run.teacher / QUALITY_CSV, QualityRow):
        case = dataset.by_id[row.case_id]
        if case.split != "test":
            assert load_target(run.teacher, row.case_id, row.key).probs.shape == (190, 190)


def test_the_student_says_that_it_sees_tiles(run, student):
    assert student.preprocessing.tiled
    assert json.loads((run.student / "preprocessing.json").read_text())["tiled"] is True
    results = json.loads((run.student / "run.json").read_text())["results"]
    assert (results["train_cases"], results["val_cases"], results["targets_rejected"]) == (9, 2, 0)
    assert "tiles of 32 x 32 px" in (run.student / "README.md").read_text()


def test_a_lesion_of_one_pixel_in_the_frame_is_found(run, student):
    out = run_eval(run, EvalConfig(baselines=False), seed=0, predictor=student)
    scores = [row.dice for row in read_scores(out / PER_CASE_CSV)]
    assert len(scores) == 3
    assert min(scores) > 0.8


@pytest.mark.parametrize("size_hw", [(400, 300), (20, 25)])
def test_images_of_other_sizes_are_seen_at_their_resolution(student, size_hw):
    image, mask = draw(77, size_hw)
    prediction = student.predict(image)
    assert prediction.mask.shape == size_hw
    hit = (prediction.mask > 0) & (mask > 0)
    assert 2 * hit.sum() / ((prediction.mask > 0).sum() + (mask > 0).sum()) > 0.8
