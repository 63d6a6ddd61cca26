"""When co-learning is on, what it refuses, and what the student is given to draw from."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.bright_squares import SIZE, prepare_squares
from support.painting_teacher import PaintingTeacher

from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.colearning.belief_files import load_beliefs, save_beliefs
from meddistill.colearning.beliefs import HEAD, NOTHING, Belief, calibrate, pixel_weights
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.colearning.deciding import with_unboxed_decided
from meddistill.colearning.joining import Colearning
from meddistill.colearning.run_prompts import find_boxes
from meddistill.colearning.sheet import write_sheet
from meddistill.colearning.unboxed import Outcome
from meddistill.data.formats.pictures import load_picture
from meddistill.run.dataset import Dataset
from meddistill.run.few_boxes import MOST_FEW, unboxed_cases
from meddistill.run.layout import BELIEFS_NPZ, COLEARNING_CSV, COLEARNING_PNG, RunDir
from meddistill.run.tables import QualityRow
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.targets.cache import Target, TargetFolders
from meddistill.targets.prompts import ANNOTATED
from meddistill.training.packed_cases import CaseTarget, PackedCases

CONFIG = DistillConfig(image_size=SIZE)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset.open(prepare_squares(tmp_path_factory.mktemp("squares"), count=10).data)


def with_annotations(data, *annotations):
    """A data set of training cases annotated so; its images are not looked at."""
    cases = [
        dataclasses.replace(
            data.cases[0],
            case_id=f"c{i}",
            split="train",
            annotation=annotation,
            n_boxes=int(annotation == "boxes"),
        )
        for i, annotation in enumerate(annotations)
    ]
    return Dataset(data.directory, cases)


def decided(data, **settings):
    return with_unboxed_decided(dataclasses.replace(CONFIG, **settings), data).colearning.unboxed


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        (["boxes", "unknown"], "propose"),
        (["boxes"] * MOST_FEW + ["unknown"], "propose"),
        (["boxes"] * (MOST_FEW + 1) + ["unknown"], "detected"),
        (["boxes", "none"], "detected"),
        (["none", "unknown"], "detected"),
    ],
)
def test_auto_proposes_where_few_are_boxed_and_others_unseen(data, annotations, expected):
    assert decided(with_annotations(data, *annotations)) == expected


@pytest.mark.parametrize(
    "asked",
    [{"boxes_file": "b.csv"}, {"boxes": "detected"}, {"no_box": "empty"}, {"rounds": 2}],
    ids=lambda asked: next(iter(asked)),
)
def test_auto_leaves_alone_what_was_asked_of_a_detector(data, asked):
    assert decided(with_annotations(data, "boxes", "unknown"), **asked) == "detected"


def in_volumes(data, *of_volumes):
    """Training slices annotated so, volume by volume."""
    listed = with_annotations(data, *(each for volume in of_volumes for each in volume))
    volumes = [f"v{n}" for n, volume in enumerate(of_volumes) for _ in volume]
    cases = [
        dataclasses.replace(case, volume=volume, slice=n)
        for n, (case, volume) in enumerate(zip(listed.cases, volumes, strict=True))
    ]
    return Dataset(data.directory, cases)


def test_auto_carries_where_most_slices_lie_in_volumes_with_a_box(data, capfd):
    partly, unseen = ["boxes", "unknown", "unknown"], ["unknown"] * 2
    assert decided(in_volumes(data, partly)) == "carry"
    assert "out of reach" not in capfd.readouterr().err
    assert decided(in_volumes(data, partly, unseen)) == "carry"
    told = " ".join(capfd.readouterr().err.split())
    assert "2 unboxed training images lie in none and teach nothing" in told
    assert "unboxed=propose" in told
    assert decided(in_volumes(data, partly, unseen, unseen)) == "propose"
    many = ["boxes"] * MOST_FEW
    assert decided(in_volumes(data, partly, many, unseen, unseen)) == "carry"
    assert decided(in_volumes(data, partly), boxes_file="b.csv") == "detected"


def test_settings_that_few_boxes_replace_are_named(data, capfd):
    few = with_annotations(data, "boxes", "unknown")
    decided(few)
    assert "in place of" not in capfd.readouterr().err
    decided(few, lr=2e-3, weight_decay=0.5, epochs=7)
    told = " ".join(capfd.readouterr().err.split())
    assert "distill.colearning.steps=1000 in place of distill.epochs=7" in told
    assert "distill.colearning.lr=0.001 in place of distill.lr=0.002" in told
    assert "distill.colearning.weight_decay=0.01 in place of distill.weight_decay=0.5" in told
    decided(few, lr=1e-3, feature_weight=0.0)
    assert "in place of" not in capfd.readouterr().err


def test_no_more_images_are_looked_at_than_training_shows_twice(tmp_path, data):
    unseen = with_annotations(data, *["unknown"] * 900)
    short = ColearningConfig(unboxed="propose", steps=100, boxed_share=0.25)
    config = dataclasses.replace(CONFIG, colearning=short, batch_size=8)
    found = Colearning(unseen, config, tmp_path, tmp_path, 0)._unboxed([])
    assert len(found) == 100 * 6 / 2
    places = [int(case.case_id[1:]) for case in found]
    assert places == sorted(places)
    assert max(places) > 600  # by chance, not the first
    assert short.most_unboxed(1) == 200


def test_more_than_few_boxes_without_a_detector_name_both_ways(tmp_path, data):
    many = with_annotations(data, *["boxes"] * (MOST_FEW + 1), "unknown")
    with pytest.raises(StageError, match=r"meddistill detect.*unboxed=propose.*here 201"):
        find_boxes(RunDir(tmp_path), DistillConfig(), many)
    cases = [dataclasses.replace(case, split="test") for case in many.cases[:-1]]
    in_test = Dataset(data.directory, [*cases, many.cases[-1]])
    with pytest.raises(StageError, match="no training image has a box: box some"):
        find_boxes(RunDir(tmp_path), DistillConfig(), in_test)


@pytest.mark.parametrize("unboxed", ["propose", "ignore", "detected"])
def test_what_was_decided_stays(data, unboxed):
    chosen = ColearningConfig(unboxed=unboxed)
    assert decided(with_annotations(data, "boxes", "unknown"), colearning=chosen) == unboxed


def test_the_recipe_for_few_boxes_brings_its_step_size_and_decay(data):
    few = ColearningConfig(unboxed="propose", lr=3e-3, weight_decay=0.2)
    config = with_unboxed_decided(dataclasses.replace(CONFIG, colearning=few), data)
    assert (config.lr, config.weight_decay, config.feature_weight) == (3e-3, 0.2, 0.0)
    off = dataclasses.replace(CONFIG, colearning=dataclasses.replace(few, unboxed="detected"))
    assert with_unboxed_decided(off, data) == off


def test_few_boxes_keep_the_last_epoch_and_let_validation_choose_the_threshold(data, capsys):
    few = with_annotations(data, "boxes", "unknown")
    mine = dataclasses.replace(CONFIG, patience=3, threshold=0.4)
    config = with_unboxed_decided(mine, few)
    assert (config.keep, config.threshold, config.patience) == ("last", None, 0)
    told = " ".join(capsys.readouterr().err.split())
    assert "a number of steps in place of distill.patience=3" in told
    assert "distill.colearning.threshold=(chosen) in place of distill.threshold=0.4" in told
    asked = ColearningConfig(keep="best", threshold=0.3)
    config = with_unboxed_decided(dataclasses.replace(mine, colearning=asked), few)
    assert (config.keep, config.threshold, config.patience) == ("best", 0.3, 3)
    many = with_annotations(data, "boxes", "none")
    config = with_unboxed_decided(mine, many)
    assert (config.keep, config.threshold, config.patience) == ("best", 0.4, 3)


@pytest.mark.parametrize(
    ("unboxed", "asked", "told"),
    [
        ("auto", {"prior_weight": 0.1}, "prior_weight above 0 does not go with .*unboxed=propose"),
        ("ignore", {"prior_weight": 0.1}, "prior_weight above 0 does not go with .*unboxed=ignore"),
        ("propose", {"rounds": 2}, "rounds=2 does not go with .*unboxed=propose"),
        ("propose", {"batch_size": 1}, "batch_size=1 does not go with .*unboxed=propose"),
    ],
)
def test_what_would_be_left_out_in_silence_is_refused(data, unboxed, asked, told):
    few = with_annotations(data, "boxes", "unknown")
    with pytest.raises(ConfigError, match=told):
        decided(few, colearning=ColearningConfig(unboxed=unboxed), **asked)
    off = ColearningConfig(unboxed="detected")
    assert decided(few, colearning=off, **asked) == "detected"


@pytest.mark.parametrize(
    ("boxed", "share"), [(1, 0.25), (50, 0.25), (80, 0.4), (100, 0.5), (MOST_FEW, 0.5)]
)
def test_boxed_images_fill_more_of_a_batch_the_more_there_are(data, boxed, share):
    few = with_annotations(data, *["boxes"] * boxed, "none", "unknown")
    assert with_unboxed_decided(CONFIG, few).colearning.boxed_share == share
    asked = dataclasses.replace(CONFIG, colearning=ColearningConfig(boxed_share=0.7))
    assert with_unboxed_decided(asked, few).colearning.boxed_share == 0.7


def test_only_training_cases_that_nobody_looked_at_are_unboxed(data):
    found = unboxed_cases(data.cases)
    assert found
    assert {(case.split, case.annotation) for case in found} == {("train", "unknown")}


def colearning(data, out):
    config = dataclasses.replace(CONFIG, colearning=ColearningConfig(unboxed="propose"))
    return Colearning(data, config, out / "teacher", out, seed=0)


class DrawnTargets:
    """Every row's target is the same soft mask."""

    def __init__(self, probs):
        self.probs = probs

    def load(self, row):
        return Target(self.probs, 0 * self.probs, 0.0, {})


def looked_at(data):
    """A row of quality.csv for each boxed training case, all accepted."""
    scores = dict.fromkeys(
        ("v", "doubt", "agreement", "stability", "predicted_iou", "box_iou", "area_share"), 0.5
    )
    return [
        QualityRow(
            case_id=case.case_id,
            split="train",
            prompt_source=ANNOTATED,
            n_boxes=1,
            key="k",
            accepted=True,
            reason="",
            weight=1.0,
            **scores,
        )
        for case in data.of_split("train")
        if case.annotation == "boxes"
    ]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("all empty", "the teacher's masks of all 6 boxed training images are empty or do not fit"),
        ("none", "no training image has a box: box some"),
    ],
)
def test_boxed_cases_without_a_lesion_are_refused(tmp_path, data, kind, told):
    rows = looked_at(data) if kind == "all empty" else []
    folders = DrawnTargets(np.zeros((SIZE, SIZE), np.float32))
    teacher = PaintingTeacher()
    with pytest.raises(InputError, match=f"nothing for the heads to learn from: {told}"):
        colearning(data, tmp_path).settle(teacher, rows, folders)
    assert teacher.calls == 0


def test_a_run_without_any_box_is_told_to_draw_some(tmp_path, data):
    unseen = with_annotations(data, "unknown", "unknown")
    with pytest.raises(
        StageError, match=r"no image of .* has a box: draw some with `meddistill label"
    ):
        find_boxes(RunDir(tmp_path), DistillConfig(), unseen)


def test_nothing_unboxed_is_refused(tmp_path, data):
    boxed = [case for case in data.of_split("train") if case.annotation == "boxes"]
    folders = DrawnTargets(np.ones((SIZE, SIZE), np.float32))
    with pytest.raises(InputError, match="every training case was looked at"):
        colearning(Dataset(data.directory, boxed), tmp_path).settle(
            PaintingTeacher(), looked_at(data), folders
        )


def outcome_of(data):
    """Two beliefs of two unboxed cases."""
    first, second = unboxed_cases(data.cases)[:2]
    square = np.zeros((SIZE, SIZE), np.float32)
    square[8:32, 8:24] = 1.0
    beliefs = {
        first.case_id: (Belief(square, 0.9, HEAD),),
        second.case_id: (Belief(0.4 * square, 0.5, NOTHING),),
    }
    rows = [
        ColearningRow(1, first.case_id, HEAD, 0.9, 1, 8, 8, 24, 32, 0.9, 0.9, 0.9, 0.8),
        ColearningRow(1, second.case_id, NOTHING, 0.5),
    ]
    nothing = calibrate(np.zeros(0), np.zeros(0))
    return Outcome(beliefs, rows, 0.8, 0.9, [nothing], [], [0.5])


def test_beliefs_are_read_back_to_a_255th(tmp_path, data):
    outcome = outcome_of(data)
    save_beliefs(tmp_path, outcome)
    found = load_beliefs(tmp_path)
    assert list(found) == list(outcome.beliefs)
    for case_id, (belief,) in outcome.beliefs.items():
        (kept,) = found[case_id]
        assert (kept.weight, kept.source) == (belief.weight, belief.source)
        assert np.abs(kept.probs - belief.probs).max() <= 0.5 / 255 + 1e-6


def test_what_was_settled_is_not_settled_again(tmp_path, data):
    save_beliefs(tmp_path, outcome_of(data))
    before = (tmp_path / BELIEFS_NPZ).read_bytes(), (tmp_path / COLEARNING_CSV).read_bytes()
    teacher = PaintingTeacher()
    colearning(data, tmp_path).settle(teacher, [], TargetFolders(tmp_path))
    after = (tmp_path / BELIEFS_NPZ).read_bytes(), (tmp_path / COLEARNING_CSV).read_bytes()
    assert (before, 0) == (after, teacher.calls)


def test_a_sheet_that_an_interruption_cost_is_drawn_when_it_is_taken_up(tmp_path, data):
    save_beliefs(tmp_path, outcome_of(data))  # killed here, before the sheet
    colearning(data, tmp_path).settle(PaintingTeacher(), [], TargetFolders(tmp_path))
    assert (tmp_path / COLEARNING_PNG).exists()


def test_a_sheet_shows_the_proposed_box_of_a_large_image_too(tmp_path, data):
    outcome = outcome_of(data)
    rows = [dataclasses.replace(row, x1=80, y1=80, x2=240, y2=320) for row in outcome.rows[:1]]
    large = SimpleNamespace(
        directory=data.directory,
        by_id=data.by_id,
        image=lambda _: np.full((640, 640, 3), 60, np.uint8),
    )
    write_sheet(tmp_path / "sheet.png", rows, outcome.beliefs, large)
    tile = load_picture(tmp_path / "sheet.png")[:192, :192]
    white = (tile == 255).all(axis=2)
    assert white[95, [24, 71]].all()  # a 640th of 192 px on, half-open
    assert white[24:95, 24].all()
    assert not white[30:90, 30:65].any()


def test_believed_cases_come_after_the_boxed_with_their_weights(tmp_path, data):
    outcome = outcome_of(data)
    save_beliefs(tmp_path, outcome)
    boxed_case = next(case for case in data.of_split("train") if case.annotation == "boxes")
    boxed = PackedCases([boxed_case.case_id], SIZE)
    ones = np.ones((SIZE, SIZE), np.float32)
    boxed.put(0, data.image(boxed_case), CaseTarget(ones, 0 * ones))
    joined = colearning(data, tmp_path).join(boxed)
    assert joined.case_ids == [boxed_case.case_id, *outcome.beliefs]
    assert joined.boxed == 1
    batch = joined.batch(torch.arange(3))
    assert batch.case_weight[:, 0].tolist() == pytest.approx([1.0, 0.9 / 0.7, 0.6])
    assert float(batch.pixel_weight[0].min()) == 1
    assert float(batch.doubt[0]) == 0
    for place, (belief,) in enumerate(outcome.beliefs.values(), start=1):
        assert batch.probs[place, 0].numpy() == pytest.approx(belief.probs, abs=1 / 255)
        expected = pixel_weights(belief.probs)
        assert batch.pixel_weight[place, 0].numpy() == pytest.approx(expected, abs=0.01)
        variance = belief.probs * (1 - belief.probs)
        assert batch.uncertainty[place, 0].numpy() == pytest.approx(variance, abs=1 / 255)
        assert float(batch.doubt[place]) == pytest.approx(1 - belief.weight**0.5)
        assert float(batch.published_v[place]) == pytest.approx(float(belief.probs.var()))
        image = data.image(data.by_id[joined.case_ids[place]])
        assert np.array_equal(batch.images[place].permute(1, 2, 0).numpy(), image)


def test_what_is_believed_later_replaces_all_that_a_case_teaches(tmp_path, data):
    outcome = outcome_of(data)
    save_beliefs(tmp_path, outcome)
    case = next(case for case in data.of_split("train") if case.annotation == "boxes")
    boxed = PackedCases([case.case_id], SIZE)
    boxed.put(0, data.image(case), CaseTarget(np.ones((SIZE, SIZE)), np.zeros((SIZE, SIZE))))
    joined = colearning(data, tmp_path).join(boxed)
    beliefs = {
        name: (dataclasses.replace(belief, probs=1 - belief.probs, weight=0.25),)
        for name, (belief,) in outcome.beliefs.items()
    }
    save_beliefs(tmp_path, dataclasses.replace(outcome, beliefs=beliefs))
    colearning(data, tmp_path).teach_anew(joined)
    batch = joined.batch(torch.arange(1, 3))
    for place, (belief,) in enumerate(beliefs.values()):
        assert batch.probs[place, 0].numpy() == pytest.approx(belief.probs, abs=1 / 255)
        assert float(batch.doubt[place]) == pytest.approx(0.5)
        most = 0.6 if belief.source == NOTHING else 1
        assert float(batch.case_weight[place]) == pytest.approx(most)
