"""Settings of co-learning: what they refuse, and when training follows the recipe for few boxes."""

import re

import pytest

from meddistill.base.errors import ConfigError
from meddistill.settings.colearning import ColearningConfig


@pytest.mark.parametrize(
    ("unboxed", "few"),
    [("auto", False), ("detected", False), ("ignore", True), ("propose", True)],
)
def test_the_recipe_is_for_those_that_use_no_detectors_boxes(unboxed, few):
    assert ColearningConfig(unboxed=unboxed).few_boxes is few


def test_a_way_that_is_not_known_names_the_nearest():
    with pytest.raises(ConfigError, match=r"unboxed is 'propse'.*did you mean 'propose'"):
        ColearningConfig(unboxed="propse")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rounds", 0, "rounds must be at least 1, got 0"),
        ("heads", 0, "heads must be at least 1, got 0"),
        ("head_steps", 0, "head_steps must be at least 1, got 0"),
        ("steps", 0, "steps must be at least 1, got 0"),
        ("encodings_gb", -1.0, "encodings_gb must be at least 0, got -1.0"),
        ("weight_decay", -0.1, "weight_decay must lie in [0.0, 1.0], got -0.1"),
        ("lr", 0.0, "lr must be above 0 and at most 1, got 0.0"),
        ("lr", float("nan"), "lr must be a finite number, got nan"),
        ("boxed_share", 0.0, "boxed_share must lie in [0.05, 1.0], got 0.0"),
        ("head_views", 0, "head_views must lie in [1, 4], got 0"),
        ("head_views", 5, "head_views must lie in [1, 4], got 5"),
        ("boxed_share", 1.1, "boxed_share must lie in [0.05, 1.0], got 1.1"),
    ],
)
def test_values_out_of_range_are_refused(name, value, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        ColearningConfig(**{name: value})


def test_no_room_for_encodings_and_boxed_cases_alone_are_allowed():
    config = ColearningConfig(encodings_gb=0.0, boxed_share=1.0)
    assert (config.encodings_gb, config.boxed_share) == (0.0, 1.0)


@pytest.mark.parametrize(("boxed", "views"), [(1, 4), (20, 4), (26, 3), (40, 2), (41, 1), (150, 1)])
def test_the_more_boxed_images_the_fewer_views_of_each(boxed, views):
    assert ColearningConfig().views_of_each(boxed) == views
    assert ColearningConfig(head_views=1).views_of_each(boxed) == 1
