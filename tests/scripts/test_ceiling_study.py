"""The study of the ceiling: arms are trained for the same time, judged on the same cases, kept as they
end, and compared in pairs."""

import dataclasses
import json
import re

import pytest
import torch
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from support.study_source import write_study_source
from support.training_data import bright_squares, train

from meddistill.base.errors import ConfigError
from meddistill.settings.distill import DistillConfig
from meddistill.training import augment, loop
from meddistill.training.batches import ShuffledCases

TOY = (
    "prepare.workers=1",
    "distill.student=unet",
    "distill.encoder=tu-test_resnet",
    "distill.encoder_weights=none",
    "distill.decoder_channels=[16,16,8,8,8]",
    "distill.image_size=32",
    "distill.feature_weight=0",
    "distill.targets.jitter_copies=1",
)


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/ceiling")
    module.SETS["toy"] = module.StudySet("fold", ("1",), ("2",), ("3",), "series")
    return module


@pytest.fixture(scope="module")
def study(script, tmp_path_factory):
    root = tmp_path_factory.mktemp("ceiling")
    made = script.Study(
        "toy",
        write_study_source(root),
        root / "work",
        root / "cells",
        minutes=0.001,
        overrides=TOY,
        teacher=PaintingTeacher(),
    )
    for cell in script.cells_of("toy", "default,strong", [0]):
        made.run(cell)
    return made


def test_the_part_kept_for_the_end_is_judged_beside(script, study, monkeypatch):
    class AskedError(Exception):
        pass

    def prepare(run, config, seed):
        raise AskedError(run.root)

    monkeypatch.setattr(script, "run_prepare", prepare)
    other = dataclasses.replace(study, part="report")
    with pytest.raises(AskedError, match="toy-report"):
        other.run(script.Cell("toy", "default", 0))


def test_each_cell_tells_what_it_gave_and_cost(script, study):
    default, strong = (
        json.loads((study.out / f"toy-{arm}-0.json").read_text()) for arm in ("default", "strong")
    )
    assert default["cases"] == strong["cases"]
    assert len(default["dice"]) == len(default["groups"]) == len(default["cases"])
    assert default["dice_mean"] == pytest.approx(
        sum(default["dice"]) / len(default["dice"]), abs=1e-3
    )
    assert (default["tried"], strong["tried"]) == ("", "stronger")
    assert augment.MAX_SCALE == 1.3  # as before the cell
    table = script.make_table([default, strong])
    assert "| toy | default | 1 |" in table
    assert "| toy | strong | 1 |" in table


def test_a_cell_that_is_there_is_not_run_again(script, study, monkeypatch, capsys):
    monkeypatch.setattr(script, "run_prepare", None)
    study.run(script.Cell("toy", "default", 0))
    assert "other settings" not in capsys.readouterr().err
    other = dataclasses.replace(study, overrides=(*study.overrides, "distill.lr=0.5"))
    other.run(script.Cell("toy", "default", 0))
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(
        r"\.json is there, made with other settings \((distill\.)?lr \S+, asked for 0\.5\)", told
    )


def test_a_cell_of_other_minutes_is_named(script, study, monkeypatch, capsys):
    monkeypatch.setattr(script, "run_prepare", None)
    longer = dataclasses.replace(study, minutes=40.0)
    longer.run(script.Cell("toy", "default", 0))
    told = " ".join(capsys.readouterr().err.split())
    assert "made with other settings (minutes 0.001, asked for 40.0), and is not run again" in told


def test_a_step_is_timed_again_on_another_device_or_with_other_settings(
    script, study, monkeypatch, tmp_path
):
    timed = []
    monkeypatch.setattr(script, "step_seconds", lambda config, device: timed.append(device) or 1.0)
    run = script.RunDir(tmp_path, study.work / "toy-judge/data")
    for change in ({}, {}, {"device": "cuda:1"}, {"overrides": ("distill.batch_size=2",)}):
        asked = dataclasses.replace(study, work=tmp_path, **change)
        asked._with_epochs(DistillConfig(), run, "default")
    assert timed == ["cpu", "cuda:1", "cpu"]


def test_a_slower_step_has_fewer_epochs(script, study, monkeypatch, tmp_path):
    monkeypatch.setattr(script, "step_seconds", lambda config, device: config.image_size / 1000)
    timed = dataclasses.replace(study, work=tmp_path, minutes=1.0)
    run = script.RunDir(tmp_path, study.work / "toy-judge/data")
    epochs = {
        side: timed._with_epochs(DistillConfig(image_size=side), run, str(side))[0].epochs
        for side in (64, 128)
    }
    assert epochs[64] == pytest.approx(2 * epochs[128], abs=1)
    without = dataclasses.replace(timed, minutes=0.0)
    assert without._with_epochs(DistillConfig(epochs=7), run, "64")[0].epochs == 7


def test_the_difference_is_paired_by_seed_and_case():
    paired_difference = load_script("studies/_cells").paired_difference

    def cell(arm, seed, dice):
        return {"arm": arm, "seed": seed, "dice": dice, "cases": ["a", "b"], "groups": ["g", "h"]}

    default = [cell("default", 0, [0.5, 0.5]), cell("default", 1, [0.0, 0.0])]
    assert (
        paired_difference([cell("x", 0, [0.6, 0.6])], default, "seed")
        == "+0.100 (+0.100 to +0.100)"
    )
    assert paired_difference([cell("x", 2, [0.6, 0.6])], default, "seed") == ""


def test_the_smallest_quarter_is_by_true_size(script):
    assert script._of_smallest([0.1, 0.9, 0.8, 0.7], [5, 400, 300, 200]) == pytest.approx(0.1)


@pytest.fixture(scope="module")
def changes():
    return load_script("studies/_tried")


def test_what_is_tried_ends_with_its_block(changes):
    assert loop.Augmentation is augment.Augmentation
    with changes.tried("crops"):
        assert loop.Augmentation is changes.Crops
    with changes.tried("balanced"):
        assert loop.ShuffledCases is changes.BalancedSizes
    assert (loop.Augmentation, loop.ShuffledCases) == (augment.Augmentation, ShuffledCases)


@pytest.mark.parametrize("what", ["crops", "balanced"])
def test_what_is_tried_trains_the_same_twice(changes, tmp_path, what):
    with changes.tried(what):
        first, second = (train(tmp_path / name, epochs=1) for name in "ab")
    with changes.tried(""):
        plain = train(tmp_path / "c", epochs=1)
    states = [each.student.state_dict() for each in (first, second, plain)]
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=0, atol=0)
    assert any((tensor != states[2][name]).any() for name, tensor in states[0].items())


def test_crops_show_the_lesion_larger_where_geometry_may_change(changes, monkeypatch):
    cases = bright_squares(64, 0)
    batch = cases.batch(torch.arange(64))
    monkeypatch.setattr(augment.Augmentation, "__call__", lambda self, seen, *_: seen)
    crops = changes.Crops(cases.image_size, 0)
    numbers = crops.numbers(0, 64)
    kept = torch.arange(64) < 8
    seen = crops(batch, kept, numbers)
    area = [(each.probs > 0.5).flatten(1).sum(1).float() for each in (batch, seen)]
    torch.testing.assert_close(seen.images[:8], batch.images[:8], rtol=0, atol=0)
    larger = (area[1] > area[0])[8:]
    assert 0.3 < larger.float().mean() < 0.6  # half of them, of which some leave a part outside
    assert (area[1][8:] / area[0][8:]).max() > 2


def test_every_size_is_drawn_as_often_as_another(changes):
    weights = changes.size_weights(torch.tensor([0.0, 5.0, 6.0, 7.0, 900.0, 1000.0]))
    assert weights.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2])


def test_an_arm_that_is_not_known_is_one_clear_line(script):
    with pytest.raises(ConfigError, match="arm 'lite3' is not known"):
        script.cells_of("brain", "lite3", [0])
    assert len(script.cells_of("brain", "all", [0, 1])) == 2 * len(script.ARMS)


def test_every_arm_is_settings_that_load(script):
    for arm, settings in script.ARMS.items():
        assert script.load_config(None, {}, [*script.BASE, *settings]), arm
