"""Findings: names, masks of several in one file, and who gets a pixel."""

import numpy as np
import pytest

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.findings import LESION, PALETTE, Findings
from meddistill.data.masks import FindingValues, StrangeValuesError


def _planes(*rows):
    return np.array(rows, dtype=bool)[:, None]


def test_one_finding_is_black_and_white():
    assert LESION.encode(_planes([0, 1])).tolist() == [[0, 255]]


@pytest.mark.parametrize("count", [2, 9])
def test_masks_that_overlap_come_back_as_they_were(count):
    findings = Findings(tuple(f"f{index}" for index in range(count)), exclusive=False)
    planes = np.random.default_rng(0).random((count, 5, 6)) < 0.5
    np.testing.assert_array_equal(findings.decode(findings.encode(planes)), planes)


def test_exclusive_findings_have_a_value_each():
    findings = Findings(("a", "b"))
    planes = _planes([1, 0, 0], [0, 1, 0])
    assert findings.encode(planes).tolist() == [[1, 2, 0]]
    np.testing.assert_array_equal(findings.decode(np.array([[1, 2, 0]])), planes)
    with pytest.raises(InputError, match="no mask of the findings a, b"):
        findings.decode(np.array([[3]]))


def test_a_pixel_goes_to_the_most_probable_of_those_above_their_threshold():
    probs = np.array([[[0.6, 0.9, 0.4]], [[0.7, 0.8, 0.3]]], np.float32)
    assert Findings(("a", "b")).masks(probs, (0.5, 0.75)).tolist() == [
        [[True, True, False]],
        [[False, False, False]],
    ]
    overlapping = Findings(("a", "b"), exclusive=False)
    assert overlapping.masks(probs, (0.5, 0.75)).tolist() == [
        [[True, True, False]],
        [[False, True, False]],
    ]


@pytest.mark.parametrize("names", [("liver", "Liver"), ("a b", "a_b"), ("",), ("a;b",), (" a",)])
def test_names_that_would_be_mixed_up_are_refused(names):
    with pytest.raises(ConfigError, match="finding"):
        Findings(names)


def test_more_findings_than_a_mask_holds_are_refused():
    names = tuple(f"f{index}" for index in range(80))
    assert len(Findings(names)) == 80
    with pytest.raises(ConfigError, match="80 findings that may overlap; a mask holds 1 to 16"):
        Findings(names, exclusive=False)


def test_names_say_which_mirror_images_would_lie():
    assert LESION.keeps_sides() == (False, False)
    assert Findings(("left ventricle", "myocardium")).keeps_sides() == (True, False)
    assert Findings(("Anterior", "Posterior")).keeps_sides() == (True, True)


def test_a_value_that_no_finding_means_is_told_with_its_pixels():
    values = FindingValues(Findings(("a", "b")), ((1.0,), (2.0,)), background=(4.0,))
    assert values.select(np.array([[0, 1, 2, 4]])).tolist() == [
        [[False, True, False, False]],
        [[False, False, True, False]],
    ]
    with pytest.raises(StrangeValuesError, match=r"no finding means: 3 \(2 px\)"):
        values.select(np.array([[3, 3, 1]]))


GREEN = (0, 255, 0)


def test_a_chosen_colour_is_that_of_its_finding_and_of_no_other():
    assert Findings(("a", "b", "c"), chosen_colours={"b": GREEN}).colours == (
        *(PALETTE[0], GREEN, PALETTE[1]),
    )
    taken = Findings(("a", "b"), chosen_colours={"b": PALETTE[0]})
    assert taken.colours == (PALETTE[1], PALETTE[0])
    assert taken.palette()[2].tolist() == list(PALETTE[0])
    assert taken.alone("b").colours == (PALETTE[0],)
    assert taken == Findings(("a", "b"))  # the same findings, drawn otherwise


@pytest.mark.parametrize("chosen", [{}, {"a": GREEN}, {"a": PALETTE[1], "b": GREEN}])
def test_colours_come_back_as_they_were_stored(chosen):
    findings = Findings(("a", "b"), chosen_colours=chosen)
    stored = findings.as_dict()
    again = Findings.from_dict(stored)
    assert again.colours == findings.colours
    assert bool(again.chosen_colours) == bool(chosen)
    del stored["colours"]  # as a student has it that was made before they were stored
    assert Findings.from_dict(stored).colours == PALETTE[:2]
    with pytest.raises(ConfigError, match="'red' is no colour; expected #rrggbb"):
        findings.in_colours(["red", "#00ff00"])
    with pytest.raises(ConfigError, match="1 colours of 2 findings"):
        findings.in_colours(["#00ff00"])
