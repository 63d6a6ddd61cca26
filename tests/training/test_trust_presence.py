"""The odds that anything is there, by the mask and by the look of the image."""

import numpy as np
import pytest
import torch

from meddistill.run.dataset import Dataset
from meddistill.student.trust.fits import SIGNALS
from meddistill.student.trust.signals import mask_signals
from meddistill.training.trust_lessons import Lesson
from meddistill.training.trust_presence import LEAST_EMPTY, Looks, fit_presence, presence_of

CASES, FEATURES, SIZE = 60, 20, 8
HAS = np.arange(CASES) % 2 == 0


def lesson():
    target = np.zeros((CASES, SIZE, SIZE), np.float32)
    target[HAS, 2:5, 2:5] = 1.0
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 1, target.shape)).float()
    known = np.ones(CASES, bool)
    ones = np.ones(CASES)
    groups = [f"g{number // 2}" for number in range(CASES)]
    return Lesson(0.5, logits, target, known, ones, ones, target > 0.5, ~HAS, groups)


def looks(shift, taught=200, empty=100, seed=0):
    """Of images in which a lesion moves the first features by `shift`."""
    rng = np.random.default_rng(seed)
    present = (np.arange(taught) >= empty).astype(float)[:, None]
    features = rng.normal(0, 1, (taught + CASES, FEATURES)).astype(np.float32)
    features[:taught, :4] += shift * present
    features[taught:][HAS, :4] += shift
    return Looks(features[:taught], present, features[taught:])


SIGNALS_OF_NOTHING = np.random.default_rng(3).normal(0, 1, (CASES, len(SIGNALS)))


def odds_of(found, given):
    logit = SIGNALS_OF_NOTHING @ found.line.weights + found.line.bias
    return logit + (0 if found.look is None else given.held @ found.look)


def rank(odds):
    return (odds[HAS][:, None] > odds[~HAS][None]).mean()


def test_where_masks_say_nothing_the_look_of_the_image_does():
    given = looks(shift=1.5)
    plain = fit_presence(lesson(), SIGNALS_OF_NOTHING, None, 0, 0)
    found = fit_presence(lesson(), SIGNALS_OF_NOTHING, given, 0, 0)
    assert plain.line is plain.look is None
    assert plain.told.startswith("unknown, for masks do not tell")
    assert found.look.shape == (FEATURES,)
    assert rank(odds_of(found, given)) > 0.95
    assert "look like" in found.told


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(looks(shift=1.5, empty=LEAST_EMPTY - 1), id="hardly any without"),
        pytest.param(looks(shift=1.5, empty=200 - LEAST_EMPTY + 1), id="hardly any with"),
    ],
)
def test_a_look_that_few_images_taught_is_left_out(given):
    assert fit_presence(lesson(), SIGNALS_OF_NOTHING, given, 0, 0).look is None


def test_a_look_that_tells_nothing_is_left_out():
    kept = [
        fit_presence(lesson(), SIGNALS_OF_NOTHING, looks(0.0, seed=seed), 0, 0).look is not None
        for seed in range(20)
    ]
    assert sum(kept) <= 3  # chance alone is above one standard error in a sixth of draws


def test_images_that_nobody_looked_at_teach_nothing():
    given = looks(shift=1.5)
    wrong = np.full_like(given.present[:40], np.nan)
    more = Looks(
        np.concatenate([np.full((40, FEATURES), 4.0, np.float32), given.taught]),
        np.concatenate([wrong, given.present]),
        given.held,
    )
    found = fit_presence(lesson(), SIGNALS_OF_NOTHING, given, 0, 0)
    np.testing.assert_array_equal(
        fit_presence(lesson(), SIGNALS_OF_NOTHING, more, 0, 0).look, found.look
    )


def test_without_images_that_are_empty_the_look_is_not_asked():
    """What stands for them is the same image outside its boxes, whose look is that of the others."""
    every = np.tile(HAS[:, None, None], (1, SIZE, SIZE))
    full = lesson()
    full.target[~every] = 0.0
    full.target[~HAS, 2:5, 2:5] = 1.0
    full.absent[:] = False
    assert fit_presence(full, SIGNALS_OF_NOTHING, looks(shift=1.5), 0, 0).look is None


def drawn_disks(inside_of, absent=0):
    """Cases with a square that the student finds, boxed where `inside_of` says; with their signals. The
    last `absent` are looked at, without a lesion."""
    rng = np.random.default_rng(0)
    target = np.zeros((CASES, 16, 16), np.float32)
    for place, corner in enumerate(rng.integers(1, 9, (CASES - absent, 2))):
        target[place, corner[0] : corner[0] + 5, corner[1] : corner[1] + 5] = 1.0
    noise = rng.normal(0, 0.3, target.shape)
    logits = torch.from_numpy(np.where(target > 0.5, 3.0, -6.0) + noise).float()
    inside = (target > 0.5) & inside_of[:, None, None]
    groups, ones = [f"g{number}" for number in range(CASES)], np.ones(CASES)
    none = np.arange(CASES) >= CASES - absent
    given = Lesson(0.5, logits, target, ones > 0, ones, ones, inside, none, groups)
    signals = mask_signals(logits[:, None], torch.tensor([0.5]))[:, 0]
    return given, signals.numpy().astype(np.float64)


NOBODY, HALF, ALL = np.zeros(CASES, bool), HAS, np.ones(CASES, bool)


@pytest.mark.parametrize(
    ("boxed", "told"), [(NOBODY, "0 of 60 drawn"), (HALF, "30 of 60 drawn"), (ALL, "of 60 others")]
)
def test_what_a_detector_found_is_no_image_without_a_lesion(boxed, told):
    """Its box is nobody's annotation, but what lies in it is a lesion as much as any other."""
    given, signals = drawn_disks(boxed)
    found = fit_presence(given, signals, None, 0, 0)
    empty = mask_signals(torch.full((1, 1, 16, 16), -6.0), torch.tensor([0.5]))[:, 0]
    assert found.line(signals).min() > 0.9
    assert found.line(empty.numpy().astype(np.float64)).max() < 0.1
    assert told in found.told


def test_where_masks_are_the_same_with_a_lesion_and_without_nothing_is_known():
    same = np.ones((CASES, len(SIGNALS)))
    found = fit_presence(lesson(), same, None, 0, 0)
    assert found.line is None
    assert found.warns


def test_a_few_images_without_a_lesion_count_beside_what_stands_for_more():
    given, signals = drawn_disks(ALL, absent=LEAST_EMPTY - 1)
    found = fit_presence(given, signals, None, 0, 0)
    assert found.told.startswith("9 images looked at have none")
    assert "boxes of 51 others" in found.told
    odd = np.where(given.absent[:, None], signals - 3.0, signals)
    assert (fit_presence(given, odd, None, 0, 0).line.weights != found.line.weights).any()
    assert not found.warns


def test_few_images_without_a_lesion_are_said():
    given = lesson()
    given.known[~HAS] = np.arange(CASES - HAS.sum()) < LEAST_EMPTY
    found = fit_presence(given, SIGNALS_OF_NOTHING + HAS[:, None], None, 0, 0)
    assert found.warns
    assert found.told.startswith("10 images looked at, without a lesion; fewer than 30")


def test_an_empty_target_of_an_image_that_nobody_looked_at_is_no_image_without_a_lesion():
    given = lesson()
    given.absent[:] = False
    found = fit_presence(given, SIGNALS_OF_NOTHING + HAS[:, None], None, 0, 0)
    assert "0 images looked at have none" in found.told


def test_what_people_said_of_a_case(tmp_path, prepare):
    from support.layouts import make_busi

    make_busi(tmp_path / "source")
    prepare(tmp_path / "source")
    dataset = Dataset.open(tmp_path / "run" / "data")
    said = {case.annotation: presence_of(dataset, case, ("lesion",)) for case in dataset.cases}
    assert said["boxes"].tolist() == [1.0]
    assert said["none"].tolist() == [0.0]
