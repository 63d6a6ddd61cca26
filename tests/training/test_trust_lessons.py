"""What boxes show of the teacher's error, and what it takes from the expected Dice."""

import numpy as np
import pytest

from meddistill.training.trust_lessons import box_dice, with_truth


def test_the_box_of_a_target_beside_the_box_that_was_drawn():
    mask = np.zeros((20, 20), bool)
    mask[5:10, 5:15] = True  # 50 pixels
    drawn = np.array([[5.0, 5.0, 15.0, 15.0]])  # 100
    assert box_dice(mask, drawn) == pytest.approx(2 * 50 / 150)
    assert box_dice(mask, np.zeros((0, 4))) == 1.0  # nothing is said of it
    assert box_dice(np.zeros((20, 20), bool), drawn) == 0.0


def test_a_student_shares_a_part_of_the_errors_of_its_teacher():
    student, target = np.array([0.9, 0.6, 1.0, 0.5, 0.7]), np.array([0.8, 1.0, 0.64, 0.0, 0.9])
    found = with_truth(student, target)
    assert found == pytest.approx([0.9 * 0.8**0.5, 0.6, 0.8, 0.0, 0.7 * 0.9**0.5])
    assert (found >= student * target).all()  # errors that have nothing to do with each other
    assert (found <= student).all()  # errors that are all of them shared
