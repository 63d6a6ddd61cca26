"""TensorBoard shows a training run in sections, once and whole, with pictures of the same few
cases."""

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image
from support.training_data import SIZE, bright_squares, same_weights, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from meddistill.data.frames import Preprocessing
from meddistill.data.overlays import GAP_PX
from meddistill.training import state as training_state
from meddistill.training.epoch_picture import CASES, choose_places, draw_cases
from meddistill.training.fabric import make_fabric
from meddistill.training.packed_cases import CaseTarget, PackedCases
from meddistill.training.tensorboard_log import TAGS

TILE = 224


def shown(out):
    accumulator = EventAccumulator(str(out))
    accumulator.Reload()
    return accumulator


def steps(events):
    return [event.step for event in events]


def test_terms_are_grouped_and_a_picture_is_there_when_due(tmp_path):
    train(tmp_path, epochs=5, picture_every=2)
    events = shown(tmp_path)
    assert set(events.Tags()["scalars"]) == set(TAGS.values())
    assert {tag.split("/")[0] for tag in TAGS.values()} == {
        "loss",
        "weight",
        "validation",
        "optimiser",
    }
    assert events.Tags()["images"] == ["validation/cases"]
    assert steps(events.Scalars("validation/agreement")) == [1, 2, 3, 4, 5]
    pictures = events.Images("validation/cases")
    assert steps(pictures) == [2, 4, 5]
    size = 4 * TILE + 3 * GAP_PX, 3 * TILE + 2 * GAP_PX
    assert Image.open(io.BytesIO(pictures[-1].encoded_image_string)).size == size


def test_pictures_change_nothing_and_can_be_left_out(tmp_path):
    without = train(tmp_path / "without", picture_every=0, val=0)
    assert same_weights(without, train(tmp_path / "with", picture_every=1, val=0))
    assert shown(tmp_path / "without").Tags()["images"] == []
    events = shown(tmp_path / "with")
    assert steps(events.Images("training/cases")) == [1, 2, 3]
    assert "validation/agreement" not in events.Tags()["scalars"]


def test_the_epoch_that_ends_training_early_has_its_picture(tmp_path):
    trained = train(tmp_path, epochs=12, lr=1e-12, patience=2, per_case=True)
    assert steps(shown(tmp_path).Images("validation/cases")) == [trained.epochs] == [3]


def test_a_resumed_run_shows_every_epoch_once(tmp_path, monkeypatch):
    saved = []

    def stop_before_the_third(out, state):
        saved.append(state["epoch"])
        if len(saved) == 3:  # the third epoch is logged, but will be trained again
            raise KeyboardInterrupt("stop")
        save(out, state)

    save = training_state.save_checkpoint
    monkeypatch.setattr(training_state, "save_checkpoint", stop_before_the_third)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        train(tmp_path, epochs=4, picture_every=1)
    monkeypatch.undo()
    assert steps(shown(tmp_path).Scalars("loss/total")) == [1, 2, 3]
    time.sleep(1.1)  # event files are ordered by the second in their name
    train(tmp_path, epochs=4, picture_every=1)
    events = shown(tmp_path)
    assert steps(events.Scalars("loss/total")) == [1, 2, 3, 4]
    assert steps(events.Images("validation/cases")) == [1, 2, 3, 4]


def test_a_run_that_starts_again_forgets_the_old_events(tmp_path):
    train(tmp_path, epochs=3)
    for checkpoint in tmp_path.glob("*.ckpt"):
        checkpoint.unlink()
    train(tmp_path, epochs=1)
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert steps(shown(tmp_path).Scalars("loss/total")) == [1]


class Says(nn.Module):
    """A student that finds bright pixels, or nothing."""

    def __init__(self, bright):
        super().__init__()
        self.bright = bright

    def forward(self, frames):
        logits = 20 * (frames.mean(1, keepdim=True) - 0.5)
        return logits if self.bright else torch.full_like(logits, -20)


def test_the_picture_shows_image_target_and_student():
    cases = bright_squares(3, 2)
    places = torch.tensor([2, 0])

    def draw(bright):
        fabric, preprocessing = make_fabric("cpu", "32-true"), Preprocessing(SIZE)
        return draw_cases(Says(bright), cases, places, preprocessing, fabric).astype(int)

    def tile(picture, row, column):
        top, left = row * (TILE + GAP_PX), column * (TILE + GAP_PX)
        return picture[top + 14 : top + TILE, left : left + TILE]  # below the caption

    right, blind = draw(True), draw(False)
    for column, place in enumerate(places):
        inside = cases.batch(place[None]).probs[0, 0].numpy() == 1
        inside = inside.repeat(TILE // SIZE, 0).repeat(TILE // SIZE, 1)[14:]
        image, target, pred = (tile(right, row, column) for row in range(3))
        for mask in (target, pred):
            assert ((mask != image).any(-1) == inside).mean() > 0.98
        np.testing.assert_array_equal(tile(blind, 2, column), tile(blind, 0, column))
        np.testing.assert_array_equal(tile(blind, 1, column), tile(right, 1, column))


def test_the_cases_shown_have_a_lesion_where_some_have():
    cases = PackedCases([str(number) for number in range(40)], 8)
    assert choose_places(cases).tolist() == [0, 8, 16, 23, 31, 39]
    target = np.zeros((8, 8), np.float32)
    for place, highest in ((3, 1.0), (5, 0.4), (30, 0.6)):
        target[2, 2] = highest
        cases.put(place, np.zeros((8, 8, 3), np.uint8), CaseTarget(target, 0 * target))
    assert choose_places(cases).tolist() == [3, 30]
    assert len(choose_places(bright_squares(20, 1))) == CASES
