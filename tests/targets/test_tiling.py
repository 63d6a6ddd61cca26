"""Whether images are cut into tiles, and which tiles teach."""

import dataclasses

import numpy as np
import pytest

from meddistill.base.errors import ConfigError
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.distill import DistillConfig
from meddistill.targets.tiling import choose_corners, cut_case, with_tiles_decided
from meddistill.training.packed_cases import CaseTarget

PROPOSING = ColearningConfig(unboxed="propose")
DETECTED = ColearningConfig(unboxed="detected")


class Boxed(Dataset):
    """Training images of 1,024 px with a box of a given side each."""

    def boxes(self, case):
        side = float(case.class_name)
        return np.array([[10, 10, 10 + side, 12]], np.float32)


def data(side, size=1024):
    case = Case("a", "train", "", str(side), "boxes", False, "a.png", size, size, 1, "", "", "")
    return Boxed(None, [case])


def config(tiles="auto", image_size=256, colearning=DETECTED, **changes):
    return DistillConfig(tiles=tiles, image_size=image_size, colearning=colearning, **changes)


@pytest.mark.parametrize(
    ("side", "size", "decided"),
    [(20, 1024, "always"), (30, 1024, "never"), (4, 300, "never")],
)
def test_small_lesions_of_large_images_are_seen_in_tiles(side, size, decided):
    found = with_tiles_decided(config(), data(side, size))
    assert found.tiles == decided
    assert (found.feature_weight == 0) is (decided == "always")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"colearning": PROPOSING}, "colearning.unboxed=propose"),
        ({"colearning": ColearningConfig(unboxed="carry")}, "colearning.unboxed=carry"),
        ({"rounds": 2}, "rounds above 1"),
        ({"prior_weight": 0.1}, "prior_weight above 0"),
    ],
)
def test_what_does_not_go_with_tiles_is_named(changes, named, capsys):
    assert with_tiles_decided(config(**changes), data(20)).tiles == "never"
    said = " ".join(capsys.readouterr().err.split())
    assert named in said
    with pytest.raises(ConfigError, match=named) as told:
        with_tiles_decided(config("always", **changes), data(20))
    remedy = "`--set distill.colearning.unboxed=ignore` leaves unboxed images out"
    assert (remedy in said) == (remedy in str(told.value)) == ("colearning" in changes)


def test_asked_for_or_not_wanted_stays():
    assert with_tiles_decided(config("always"), data(500)).tiles == "always"
    never = config("never")
    assert with_tiles_decided(never, data(1)) == never


def target_of(*squares, size_hw=(200, 300)):
    probs = np.zeros((1, 300, 300), np.float32)
    for top, left, side in squares:
        probs[0, top : top + side, left : left + side] = 0.9
    return probs, size_hw


def test_lesions_lie_anywhere_in_their_tiles_and_twice_as_many_show_none():
    probs, size_hw = target_of((20, 30, 10), (150, 250, 12))
    corners = choose_corners("case", probs, size_hw, 64)
    held = [probs[0, top : top + 64, left : left + 64].max() > 0.5 for top, left in corners]
    assert (sum(held), len(held)) == (4, 12)
    assert len({(top - 150, left - 250) for top, left in corners if left > 120 and top > 60}) > 1
    assert all(0 <= top <= 136 and 0 <= left <= 236 for top, left in corners)
    assert corners == choose_corners("case", probs, size_hw, 64)
    assert corners != choose_corners("another", probs, size_hw, 64)


def test_a_lesion_larger_than_a_tile_gives_tiles_inside_it():
    probs, size_hw = target_of((0, 0, 190))
    for top, left in choose_corners("case", probs, size_hw, 32)[:2]:
        assert probs[0, top : top + 32, left : left + 32].max() > 0.5


def test_an_image_without_a_lesion_gives_two_and_one_no_larger_than_a_tile_one():
    assert len(choose_corners("empty", *target_of(), 64)) == 2
    assert choose_corners("small", np.zeros((1, 40, 40)), (30, 40), 64) == [(0, 0)]


def test_tiles_have_the_pixels_of_image_and_target():
    image = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    probs, _ = target_of((20, 30, 10))
    whole = CaseTarget(probs[0], 0.1 * probs[0], weight=0.5)
    (pixels, target), (low, padded) = cut_case(image, whole, [(10, 20), (180, 0)], 64)
    assert (pixels == image[10:74, 20:84]).all()
    assert (target.probs[0] == probs[0, 10:74, 20:84]).all()
    assert (target.uncertainty[0] == 0.1 * probs[0, 10:74, 20:84]).all()
    assert target.weight == 0.5
    assert (low[:20] == image[180:200, :64]).all()
    assert not low[20:].any()
    assert padded.probs.shape == (1, 64, 64)
    assert dataclasses.replace(whole, probs=padded.probs).probs.max() == 0
