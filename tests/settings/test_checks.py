"""What a person can set wrongly is told in one line with the setting's name, before any work."""

import dataclasses
import math
import operator

import pytest

from meddistill.base.errors import ConfigError
from meddistill.settings.config import Config
from meddistill.settings.docs import all_settings
from meddistill.settings.layers import load_config

SECTIONS = {key.rpartition(".")[0] for key in all_settings()}


def settings_of_kind(*kinds: str) -> list[tuple[object, str]]:
    """Sections with the names of their fields that the dataclass calls so: `float`, `int`."""
    config = Config()
    sections = [operator.attrgetter(name)(config) if name else config for name in sorted(SECTIONS)]
    return [
        pytest.param(section, field.name, id=f"{type(section).__name__}.{field.name}")
        for section in sections
        for field in dataclasses.fields(section)
        if field.type in kinds
    ]


@pytest.mark.parametrize(("section", "name"), settings_of_kind("float", "Optional[float]"))
def test_no_number_is_endless_or_none(section, name):
    for value in (math.inf, -math.inf, math.nan):
        with pytest.raises(ConfigError, match=rf"^{name} must be a finite number, got {value}$"):
            dataclasses.replace(section, **{name: value})


@pytest.mark.parametrize(("section", "name"), settings_of_kind("int"))
def test_whole_numbers_are_such_as_libraries_take(section, name):
    for value in (10**20, -(10**20)):
        with pytest.raises(ConfigError, match=rf"^{name}s? must "):
            dataclasses.replace(section, **{name: value})


def refused(tmp_path, key: str, value: str, match: str) -> None:
    """`value` as YAML has it."""
    *sections, name = key.split(".")
    text = "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
    (tmp_path / "c.yaml").write_text(f"{text}{'  ' * len(sections)}{name}: {value}\n")
    with pytest.raises(ConfigError, match=match):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("detect.train", "12", "'detect.train' is true or false, got 12"),
        ("detect.train", "²", "detect.train Value '²' is not a valid bool"),
        ("detect.train", "'+-5'", "is not a valid bool"),
        ("distill.augment", "'-1'", "'distill.augment' is true or false, got -1"),
        ("prepare.label", "#ff0000", "'prepare.label' is a text, got nothing; put one with a # in"),
        ("prepare.channel", "no", "'prepare.channel' is a text, got false.*put it in quotes"),
        ("prepare.healthy", "[yes]", "'prepare.healthy' is a text, got true.*put it in quotes"),
        ("distill.teacher", "[a, b]", r"'distill.teacher' takes single values, got \['a', 'b'\]"),
        ("prepare.healthy", "[[a]]", r"'prepare.healthy' takes single values, got \['a'\]"),
        ("distill.decoder_channels", "8", "'distill.decoder_channels' is a list in brackets"),
    ],
)
def test_what_yaml_makes_something_else_of_is_refused(tmp_path, key, value, told):
    refused(tmp_path, key, value, told)


def test_what_means_the_same_is_taken(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "seed: '7'\ndistill:\n  epochs: ${detect.epochs}\n  lr: 1e-3\n  augment: no\n  teacher: 'no'\n"
    )
    found = load_config(tmp_path / "c.yaml")
    distill = found.distill
    assert (found.seed, distill.epochs, distill.lr) == (7, 60, 1e-3)
    assert (distill.augment, distill.teacher) == (False, "no")
    assert load_config(None, {}, ["prepare.strict=1"]).prepare.strict


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("detect.lr", "5", r"detect\.lr must be above 0 and at most 1, got 5"),
        ("distill.lr", "5e4", r"distill\.lr must be above 0 and at most 1, got 50000"),
        ("distill.colearning.lr", "0", r"distill\.colearning\.lr must be above 0"),
        ("distill.weight_decay", "1e4", r"distill\.weight_decay must lie in \[0\.0, 1\.0\]"),
        ("distill.image_size", "99999968", r"distill\.image_size must lie in \[32, 8192\]"),
        (
            "distill.targets.feature_bytes",
            "0",
            r"distill\.targets\.feature_bytes must be at least 2048",
        ),
        (
            "distill.targets.feature_grid",
            "1000",
            r"distill\.targets\.feature_bytes must be at least",
        ),
        ("seed", "-1", "seed must be at least 0, got -1"),
        ("distill.targets.logit_shift", ".nan", r"distill\.targets\.logit_shift must be a finite"),
        ("distill.decoder_channels", "[64, 0]", r"distill\.decoder_channels must be positive"),
    ],
)
def test_what_would_end_in_noise_is_refused_with_its_section(tmp_path, key, value, told):
    refused(tmp_path, key, value, f"^{told}")


def test_something_must_teach_the_masks():
    with pytest.raises(ConfigError, match="nothing would teach the student a mask"):
        load_config(None, {}, ["distill.mask_weight=0", "distill.probability_weight=0"])
    load_config(
        None,
        {},
        ["distill.mask_weight=0", "distill.probability_weight=0", "distill.prior_weight=1"],
    )
