"""Choosing by the targets of validation cases where several findings are rare: silence is not praised,
and what is seen wrongly counts."""

import numpy as np
import pytest
import torch
from support.training_data import bright_squares
from torch import nn

from meddistill.base.errors import TrainingError
from meddistill.data.frames import Preprocessing
from meddistill.training.fabric import make_fabric
from meddistill.training.packed_cases import CaseTarget, PackedCases
from meddistill.training.selection import (
    THRESHOLDS,
    choose_thresholds,
    threshold_of,
    validation_agreement,
)

SIDE = 8


def cases(*shown, findings=3):
    """A case an entry: the finding whose left half it shows, or None."""
    packed = PackedCases([str(i) for i in range(len(shown))], SIDE, findings=findings)
    for index, place in enumerate(shown):
        probs = np.zeros((findings, SIDE, SIDE), np.float32)
        if place is not None:
            probs[place, :, : SIDE // 2] = 1
        image = np.full((SIDE, SIDE, 3), 0 if place is None else 1 + place, np.uint8)
        packed.put(index, image, CaseTarget(probs, 0 * probs, 0.0, 0.0))
    return packed


class Student(nn.Module):
    """What `see` gives of each case's number, (C, S, S) in (0, 1)."""

    def __init__(self, see):
        super().__init__()
        self.see = see

    def forward(self, frames):
        numbers = (frames[:, 0, 0, 0] * 255).round().int().tolist()
        return torch.logit(torch.stack([self.see(number - 1) for number in numbers]), eps=1e-7)


def half(*of_finding, findings=3):
    """Probabilities in the left half, by place of the finding."""
    probs = torch.zeros(findings, SIDE, SIDE)
    for place, value in of_finding:
        probs[place, :, : SIDE // 2] = value
    return probs


PLAIN = Preprocessing(SIDE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
FABRIC = make_fabric("cpu", "32-true")


def agreement(see, val):
    return validation_agreement(Student(see), val, PLAIN, FABRIC)


class LittleMemory(nn.Module):
    """A student with memory for so many frames at once; `tried`: how many it was given."""

    def __init__(self, frames):
        super().__init__()
        self.most, self.tried = frames, []

    def forward(self, frames):
        self.tried.append(len(frames))
        if len(frames) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return frames[:, :1]


def test_validation_cases_that_do_not_fit_together_are_seen_in_parts():
    val = cases(*[0] * 6, findings=1)
    whole, parts = LittleMemory(6), LittleMemory(2)
    agreements = [validation_agreement(each, val, PLAIN, FABRIC) for each in (whole, parts)]
    assert agreements[0] == agreements[1]
    assert parts.tried == [6, 3, 2, 1, 3, 2, 1]


def test_a_validation_case_that_does_not_fit_alone_is_one_line_that_says_what_to_set():
    with pytest.raises(
        TrainingError, match=r"one image; pass --device cpu, lower distill\.image_size \(now 8\)"
    ):
        validation_agreement(LittleMemory(0), cases(0, 1), PLAIN, FABRIC)


def test_a_student_that_sees_nothing_of_rare_findings_agrees_with_nothing():
    val = cases(0, 1, 2)
    assert agreement(lambda _: half(), val) == pytest.approx(0, abs=1e-4)
    assert agreement(lambda place: half((place, 1.0)), val) == pytest.approx(1, abs=1e-4)


def test_what_is_seen_as_another_finding_is_held_against_the_one_that_is_there():
    val = cases(0, 1, 2)
    # Right, and as much again of the next: half of all that is there and seen, twice 32 of 96 px.
    both = agreement(lambda place: half((place, 1.0), ((place + 1) % 3, 1.0)), val)
    assert both == pytest.approx(2 / 3, abs=1e-3)


def test_silence_is_right_where_nothing_is_there():
    val = cases(0, 1, 2, None)
    assert agreement(lambda place: half((max(place, 0), 1.0)), val) == pytest.approx(
        5 / 6, abs=1e-3
    )


def test_one_finding_is_judged_as_ever():
    val = bright_squares(4, 2)
    seen = nn.Module()
    seen.forward = lambda frames: torch.where(frames.mean(1, keepdim=True) > 0.5, 4.0, -4.0)
    found = validation_agreement(seen, val, Preprocessing(val.image_size), FABRIC)
    target = val.batch(torch.arange(4)).probs
    probs = torch.sigmoid(torch.where(target > 0.5, 4.0, -4.0)).flatten(1)
    each = 1 - (probs - target.flatten(1)).abs().sum(1) / (probs + target.flatten(1)).sum(1)
    assert found == pytest.approx(float(each.mean()), rel=1e-5)


def test_a_rare_findings_threshold_is_not_that_of_silence():
    """It is seen at .4 where it is, and nowhere else: three of four cases do without it."""
    val = cases(0, 1, 1, 1, findings=2)
    chosen = choose_thresholds(
        Student(lambda place: half((place, 0.4 if place == 0 else 0.9), findings=2)),
        val,
        PLAIN,
        FABRIC,
    )
    assert chosen == [0.4, 0.5]


def test_a_threshold_that_few_cases_praise_by_chance_is_not_taken():
    assert threshold_of(*_of_gains([0.2, -0.19, 0.01, -0.01])) == 0.5
    assert threshold_of(*_of_gains([0.2, 0.1, 0.15, 0.1])) == 0.3
    assert threshold_of(*_of_gains([0.2, 0.0, 0.0, 0.0])) == 0.3  # all others are as good with it
    assert threshold_of(*_of_gains([0.0, 0.0])) == 0.5


def _of_gains(gains):
    """Mean and standard error by threshold, of .3 as given and of all others none."""
    place = THRESHOLDS.index(0.3)
    mean, error = np.zeros((2, len(THRESHOLDS)))
    mean[place], error[place] = np.mean(gains), np.std(gains, ddof=1) / np.sqrt(len(gains))
    return mean.tolist(), error.tolist()


def test_a_threshold_rises_above_what_is_seen_in_cases_of_another_finding():
    val = cases(0, 1, 1, 1, findings=2)

    def see(place):
        return half((0, 0.8 if place == 0 else 0.6), (1, 0.9 if place == 1 else 0.0), findings=2)

    assert choose_thresholds(Student(see), val, PLAIN, FABRIC) == [0.65, 0.5]
