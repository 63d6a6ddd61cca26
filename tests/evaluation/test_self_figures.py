"""Known answers: what is judged of what a student says of itself, in figures and in words."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from support.evaluation_data import SIZE_HW, square

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.formats.pictures import write_png
from meddistill.data.frames import Preprocessing
from meddistill.evaluation.baselines import STUDENT, Guess
from meddistill.evaluation.foreign import MOST, foreign_folders, not_judged
from meddistill.evaluation.judged_cases import JudgedCase
from meddistill.evaluation.scores import Judging, score
from meddistill.evaluation.self_figures import figures, in_words, own_flags
from meddistill.evaluation.self_told import SelfGathered, SelfTold, of_data, with_told
from meddistill.evaluation.trust_scores import lesion_froc
from meddistill.student.trust.reading import OfFinding, Reading

TRUTH = square(8, 8, 10)
NOTHING = np.zeros(SIZE_HW, bool)


def case_of(number):
    return JudgedCase(f"c{number}", "", "test", "g", "", None, None, None)


def gathered_of(cases):
    """Rows and what was gathered of (mask, truth, said, odd) each."""
    rows, gathered = [], SelfGathered()
    for number, (mask, truth, said, odd) in enumerate(cases):
        probs = np.where(mask, 0.9, 0.2).astype(np.float32)
        guess = Guess(mask[None], probs[None])
        told = SelfTold(
            Reading(0.5, (said,)), ["odd"] if odd else [], np.where(mask, 1.0, 0.0)[None]
        )
        row = score(case_of(number), STUDENT, mask, probs, truth, Judging())
        gathered.add(told, guess, truth, 0, 0.1)
        rows.append(with_told(row, told, guess, 0))
    return rows, gathered


RIGHT = OfFinding(0.95, 0.8, 1.0, 0.9, 0.5)
WRONG = OfFinding(0.3, 0.0, 0.4, 0.2, 0.5)
CASES = [
    (TRUTH, TRUTH, RIGHT, False),
    (TRUTH, TRUTH, RIGHT, False),
    (square(20, 30, 8), TRUTH, WRONG, False),
    (NOTHING, NOTHING, OfFinding(0.5, 0.1, 0.9, 0.1, 0.5), True),
]


def test_why_foreign_images_are_not_looked_at(tmp_path):
    knowing = SimpleNamespace(trust=object(), look=print, calibrated=print)
    assert "no judged case has a true mask" in not_judged(knowing, tmp_path)
    knowing.trust = None
    assert "calibrate RUN" in not_judged(knowing, tmp_path)


def test_who_knows_itself_gets_good_figures():
    rows, gathered = gathered_of(CASES)
    told = figures(rows, {"": gathered})[""]
    assert (told["images"], told["with_lesion"]) == (4, 3)
    assert told["expected"]["covered"] == 1
    assert told["rejection"]["all"] == pytest.approx(2 / 3)
    assert told["curves"]["expected"] == pytest.approx([0, 0, 1 / 3])
    assert told["present"]["sensitivity"] == pytest.approx(2 / 3)
    assert told["present"]["false_rate"] == 0
    assert told["froc"] == {"false_per_image": [0, 0.25], "sensitivity": [0, 2 / 3]}
    assert told["review"] == {"images": 4, "marked": 2, "bad": 1, "bad_marked": 1}
    around, everywhere = (told["calibration"][where] for where in ("around", "all"))
    assert (
        around["before"]["n_pixels"]
        == around["after"]["n_pixels"]
        < everywhere["after"]["n_pixels"]
    )
    assert everywhere["after"]["brier"] < everywhere["before"]["brier"]
    flags = own_flags(rows, gathered)
    assert flags == {"images": 4, "unfamiliar": 0, "odd": 0.25, "either": 0.25}
    said = " ".join(in_words(told, {"own": flags, "far": {**flags, "either": 1.0}}))
    for part in (
        "67% of the 3 images with a lesion and on 0% of the 1 without one; few to measure on",
        "among them 1 of the 1 whose Dice is below 0.7",
        "0% of these 4 own images are called unfamiliar",
        "foreign images (far) 100% are noticed",
        "too few to say much",
    ):
        assert part in said


def test_what_is_unknown_is_said_so():
    rows, gathered = gathered_of([(TRUTH, TRUTH, OfFinding(), False)] * 2)
    told = figures(rows, {"": gathered})[""]
    assert told["expected"] is told["curves"] is told["present"] is None
    assert "Whether anything is there: unknown." in in_words(told, {})
    assert in_words({**told, "review": None}, {})[-1] == "Whether a person should look: unknown."
    rows = [dataclasses.replace(row, review=None) for row in rows]
    assert figures(rows, {"": gathered})[""]["review"] is None
    rows = [dataclasses.replace(row, familiarity=None) for row in rows]
    assert own_flags(rows, gathered) is None


def test_without_empty_images_false_alarms_cannot_be_measured():
    rows, gathered = gathered_of(CASES[:3])
    said = in_words(figures(rows, {"": gathered})[""], {})
    assert any("false alarms cannot be measured" in each for each in said)


def test_without_lesions_and_masks_nothing_is_said_of_what_is_around_them():
    rows, gathered = gathered_of([(NOTHING, NOTHING, RIGHT, False)] * 3)
    said = " ".join(in_words(figures(rows, {"": gathered})[""], {}))
    assert "around lesions: not measured" in said
    assert "on 100% of the 3 without one; few to measure on" in said


def test_a_calibration_that_changed_nothing_is_not_told_as_one():
    calibrated = in_words(figures(*_with_meaning(0.9))[""], {})
    assert any("before calibration and" in each for each in calibrated)
    told = figures(*_with_meaning(0.0))[""]
    (said,) = [each for each in in_words(told, {}) if each.startswith("Probabilities")]
    assert "before calibration" not in said
    assert "around lesions and" in said
    assert "too few validation cases to calibrate them" in said


def _with_meaning(shift):
    """Of cases whose probabilities are meant otherwise by `shift` of the mask."""
    rows, gathered = [], SelfGathered()
    for number, (mask, truth, said, _) in enumerate(CASES):
        probs = np.where(mask, 0.9, 0.2).astype(np.float32)[None]
        told = SelfTold(Reading(0.5, (said,)), [], probs - np.float32(shift) * mask)
        guess = Guess(mask[None], probs)
        gathered.add(told, guess, truth, 0, 0.1)
        row = score(case_of(number), STUDENT, mask, probs[0], truth, Judging())
        rows.append(with_told(row, told, guess, 0))
    return rows, {"": gathered}


def test_a_finding_that_the_student_does_not_know_is_unknown():
    reading = of_data(Reading(0.5, (RIGHT,)), (None, 0))
    assert reading.findings == (OfFinding(), RIGHT)


def test_lesions_found_by_false_alarms():
    told = lesion_froc([(0.9, True), (0.8, False), (0.7, True)], n_true=4, n_images=2)
    assert told == {"false_per_image": [0, 0, 0.5, 0.5], "sensitivity": [0, 0.25, 0.25, 0.5]}
    assert lesion_froc([], n_true=0, n_images=2) is None
    assert lesion_froc([], n_true=1, n_images=2) == {"false_per_image": [0], "sensitivity": [0]}


def test_foreign_folders_have_names(tmp_path):
    for number in range(3):
        write_png(tmp_path / "far" / f"{number}.png", np.eye(4, dtype=np.uint8) * 255)
    one, two = foreign_folders([str(tmp_path / "far"), f"x={tmp_path / 'far'}"])
    assert (one.name, two.name, len(one.files)) == ("far", "x", 3)
    assert one.fingerprint == two.fingerprint
    assert [image.shape[:2] for image in one.images(None)] == [(4, 4)] * 3
    coloured = np.zeros((4, 4, 3), np.uint8)
    coloured[..., 0] = 90
    write_png(tmp_path / "red" / "0.png", coloured)
    ((image, taken),) = foreign_folders([str(tmp_path / "red")])[0].shown(Preprocessing(context=1))
    np.testing.assert_array_equal(image, coloured)
    assert (taken == 30).all()  # three times itself: its colours are no neighbours
    assert MOST >= 3
    with pytest.raises(ConfigError, match="expected FOLDER or NAME=FOLDER"):
        foreign_folders([f"={tmp_path}"])
    with pytest.raises(ConfigError, match="names that differ"):
        foreign_folders([f"own={tmp_path}"])
    with pytest.raises(InputError, match="does not exist"):
        foreign_folders([str(tmp_path / "nowhere")])
