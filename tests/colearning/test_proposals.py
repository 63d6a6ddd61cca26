"""Boxes out of a soft mask."""

import numpy as np

from meddistill.colearning.proposals import propose


def blank():
    return np.zeros((32, 32), np.float32)


def test_the_box_of_the_component_and_how_sure_the_map_is():
    probs = blank()
    probs[4:10, 8:20] = 0.8
    found = propose(probs, 0.5, least_px=10)
    assert found.boxes_xyxy_px.tolist() == [[8, 4, 20, 10]]
    assert abs(found.confidence - 0.8) < 1e-6
    assert found.mask.sum() == 72


def test_an_empty_map_proposes_nothing():
    assert propose(blank(), 0.5, least_px=1) is None
    assert propose(blank() + 0.4, 0.5, least_px=1) is None


def test_specks_and_faint_second_components_are_left_out():
    probs = blank()
    probs[4:10, 8:20] = 0.9
    probs[20:23, 20:23] = 0.9  # an eighth of the mass
    probs[30, 30] = 1.0
    found = propose(probs, 0.5, least_px=4)
    assert found.boxes_xyxy_px.tolist() == [[8, 4, 20, 10]]
    assert not found.mask[20:23, 20:23].any()


def test_two_lesions_of_like_mass_are_both_proposed():
    probs = blank()
    probs[2:8, 2:8] = probs[20:26, 20:25] = 0.9
    assert len(propose(probs, 0.5, least_px=4).boxes_xyxy_px) == 2


def test_what_lies_inside_a_components_box_is_not_the_component():
    probs = np.zeros((64, 64), np.float32)
    probs[4:40, 4:40] = 0.9
    probs[8:36, 8:36] = 0
    probs[20:23, 20:23] = 0.9
    assert not propose(probs, 0.5, least_px=16).mask[20:23, 20:23].any()
