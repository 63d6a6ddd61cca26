"""What a teacher that is asked adds to an answer: drawn masks, known lines."""

import numpy as np
import pytest

from meddistill.data.findings import LESION, Findings
from meddistill.student.trust.asked import Answer, Opinion, agreement, settle
from meddistill.student.trust.fits import Interval, Line
from meddistill.student.trust.reading import OfFinding, Reading
from meddistill.student.trust.trust import Expected, FindingTrust, Trust

SURE = Interval(np.array([0.0, 1.0]), np.array([0.0, 0.9]), np.array([0.1, 1.0]))
HALF = np.zeros((4, 4), bool)
HALF[:2] = True


def expected(weight, bias=0.0):
    """Of two signals of its own, then the agreement and the teacher's word: by the agreement."""
    return Expected(Line(np.array([0.0, 0.0, weight, 0.0]), bias), SURE)


def answer_of(mask, findings=1):
    reading = Reading(0.5, (OfFinding(0.2, 0.1, 0.3, 0.9),) * findings, np.zeros((findings, 2)))
    probs = np.repeat(mask[None] * 0.75, findings, axis=0).astype(np.float32)
    return Answer(reading, probs >= 0.5, probs, probs, (0.5,) * findings)


def opinion_of(mask, findings=1):
    probs = np.repeat(mask[None] * 0.9, findings, axis=0).astype(np.float32)
    return Opinion(probs, np.full(findings, 0.8))


TRUST = Trust((FindingTrust(asked=expected(4.0, -2.0), refined=expected(0.0, 1.0)),))


def test_agreement_is_dice():
    assert agreement(HALF, HALF * 0.9) == 1
    assert agreement(HALF, ~HALF * 0.9) == 0
    assert agreement(~HALF & HALF, HALF * 0.1) == 1


@pytest.mark.parametrize(("theirs", "agreed"), [(HALF, 1.0), (~HALF, 0.0)])
def test_who_agrees_expects_more(theirs, agreed):
    told = settle(answer_of(HALF), opinion_of(theirs), TRUST, LESION, refine=False)
    of = told.reading.findings[0]
    assert of.expected_dice == pytest.approx(1 / (1 + np.exp(2 - 4 * agreed)))
    assert of.expected_dice_low <= of.expected_dice <= of.expected_dice_high
    assert (told.agreement.tolist(), told.refined.tolist()) == ([agreed], [False])
    assert of.p_finding == 0.9
    assert (told.masks[0] == HALF).all()


def test_the_better_mask_stands():
    told = settle(answer_of(HALF), opinion_of(~HALF), TRUST, LESION, refine=True)
    assert told.refined.tolist() == [True]
    assert (told.masks[0] == ~HALF).all()
    assert told.probs.max() == pytest.approx(0.9)
    kept = settle(answer_of(HALF), opinion_of(HALF), TRUST, LESION, refine=True)
    assert kept.refined.tolist() == [False]  # .88 of the student's own beats .73


def test_who_was_not_asked_says_what_it_said():
    answer = answer_of(HALF)
    unasked = settle(answer, None, TRUST, LESION, refine=True)
    assert unasked.reading is answer.reading
    assert np.isnan(unasked.agreement).all()
    unfitted = settle(answer, opinion_of(HALF), Trust((FindingTrust(),)), LESION, refine=True)
    assert unfitted.reading == answer.reading
    assert unfitted.agreement.tolist() == [1.0]


def test_a_pixel_of_two_findings_goes_to_the_more_probable():
    findings = Findings(("a", "b"))
    trust = Trust((FindingTrust(), TRUST.findings[0]))
    told = settle(answer_of(HALF, 2), opinion_of(np.ones((4, 4), bool), 2), trust, findings, True)
    assert told.refined.tolist() == [False, True]
    assert not told.masks.all(0).any()
    assert told.masks[1].all()  # .9 beats .75
