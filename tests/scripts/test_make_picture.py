"""The README's picture: drawn from what a RUN's stages wrote, small, and clear about what is
missing."""

import io
import json
import zlib

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from support.script_module import load_script
from typer.testing import CliRunner

from meddistill.base.csv_tables import write_table
from meddistill.base.errors import ConfigError, StageError
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.formats.pictures import write_png
from meddistill.data.sources.phantom import draw_slice
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.scores import Judging, ScoreRow, score
from meddistill.run.images import image_path
from meddistill.run.layout import BOXES_CSV, CASES_CSV, PER_CASE_CSV, QUALITY_CSV, RunDir
from meddistill.run.record import Stage
from meddistill.run.tables import BoxRow, Case, QualityRow
from meddistill.run.true_masks import mask_path

SIDE = 96
IDS = ("h0", "h1", "h2", "h3")


@pytest.fixture(scope="module")
def picture():
    return load_script("dev/make_picture")


def finish(directory, name):
    Stage.open(directory, name, {}, {}, refresh=True).finish({}, sorted(directory.glob("*.csv")))


def make_run(root, side=SIDE, ids=IDS):
    """Phantom test slices with a teacher that blurs the truth and a student that moves it by 0, 2,
    4, ... px.

    The last case has no box, and so a target without lesion.
    """
    run = RunDir(root)
    cases, boxes, targets, scores = [], [], [], []
    rng = np.random.default_rng(3)
    for number, case_id in enumerate(ids):
        grey, mask, _ = draw_slice(rng, side)
        while not mask.any():
            grey, mask, _ = draw_slice(rng, side)
        case = Case(
            case_id,
            "test",
            case_id,
            "mass",
            "boxes",
            True,
            f"images/test/{case_id}.png",
            side,
            side,
            1,
            "",
            case_id,
            "",
        )
        cases.append(case)
        image = grey if grey.ndim == 3 else np.repeat(grey[..., None], 3, axis=2)
        write_png(image_path(run.data, case), image)
        write_png(mask_path(run.data, case), mask.astype(np.uint8) * 255)
        found = [] if number == len(ids) - 1 else mask_to_boxes(mask)
        boxes += [BoxRow(case_id, "test", *map(float, box), 0.8, "lesion") for box in found]
        soft = ndimage.gaussian_filter(mask.astype(np.float32), side / 60)
        path = run.teacher / "targets" / f"{case_id}.k.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        uncertainty = (soft * (1 - soft) * 255 * bool(len(found))).astype(np.uint8)
        np.savez(
            path,
            probs=(soft * 255).astype(np.uint8),
            uncertainty=uncertainty,
            scores=json.dumps({"v": 0.1}),
        )
        targets.append(
            QualityRow(
                case_id,
                "test",
                "detected",
                len(found),
                "k",
                0.1,
                0.1,
                1,
                1,
                0.9,
                0.9,
                0.1,
                True,
                "",
                1,
            )
        )
        student = np.roll(mask, 2 * number, axis=1)
        write_png(run.eval / "masks" / f"{case_id}.png", student.astype(np.uint8) * 255)
        subject = JudgedCase(
            case_id, case_id, "test", case_id, "mass", image_path(run.data, case), None, None
        )
        scores.append(score(subject, "student", student, None, mask, Judging()))
    write_table(run.data / CASES_CSV, Case, cases)
    write_table(run.detector / BOXES_CSV, BoxRow, boxes)
    write_table(run.teacher / QUALITY_CSV, QualityRow, targets)
    write_table(run.eval / PER_CASE_CSV, ScoreRow, scores)
    for directory, name in ((run.data, "prepare"), (run.teacher, "teacher"), (run.eval, "eval")):
        finish(directory, name)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("picture") / "RUN")


def test_picture_is_written_within_the_limit(picture, run, tmp_path):
    out = tmp_path / "overview.png"
    done = CliRunner().invoke(picture.app, [str(run.root), "--out", str(out), "--count", "2"])
    assert done.exit_code == 0, done.output
    assert out.stat().st_size <= picture.MOST_BYTES
    with Image.open(out) as image:
        assert image.width > image.height > 200
        assert len(set(image.convert("L").tobytes())) > 50  # not an empty card


def test_cases_go_from_best_to_worst_and_have_a_box(picture, run):
    rows = picture.collect(run, 3)
    assert [row.case_id for row in rows] == ["h0", "h1", "h2"]
    assert [row.dice for row in rows] == sorted((row.dice for row in rows), reverse=True)
    assert [row.confidence for row in rows] == [0.8] * 3
    assert [row.case_id for row in picture.collect(run, 2)] == ["h0", "h2"]
    assert [row.case_id for row in picture.collect(run, 3, ["h1"])] == ["h1"]


def test_what_is_drawn_is_what_the_stages_wrote(picture, run):
    row = picture.collect(run, 1, ["h1"])[0]
    assert row.image.shape == (SIDE, SIDE, 3)
    assert np.array_equal(row.student, np.roll(row.truth, 2, axis=1))
    assert row.probs.max() > 0.9
    assert 0 < row.uncertainty.max() <= 0.25


def test_same_run_same_picture(picture, run):
    drawn = [picture.as_png(picture.draw(picture.collect(run, 1))) for _ in range(2)]
    assert zlib.crc32(drawn[0]) == zlib.crc32(drawn[1])
    assert Image.open(io.BytesIO(drawn[0])).format == "PNG"


def test_unknown_case_is_refused(picture, run):
    with pytest.raises(ConfigError, match="case 'nobody' is not among the 3"):
        picture.collect(run, 1, ["nobody"])


def test_run_without_evaluation_names_the_command(picture, tmp_path):
    run = make_run(tmp_path / "RUN", ids=IDS[:2])
    (run.eval / "run.json").unlink()
    with pytest.raises(StageError, match="run `meddistill eval` first"):
        picture.collect(run, 1)
    done = CliRunner().invoke(picture.app, [str(run.root), "--out", str(tmp_path / "out.png")])
    assert done.exit_code == 1
    assert not (tmp_path / "out.png").exists()
