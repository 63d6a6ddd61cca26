"""What help texts and `meddistill config` say of a setting is what config.py does."""

import dataclasses
import operator
import re
import sys

import pytest

from meddistill.base.errors import ConfigError
from meddistill.settings.config import Config
from meddistill.settings.docs import all_settings, default_text, sections, settings_of
from meddistill.settings.layers import load_config
from meddistill.stages.show_config import as_yaml, run_settings


def keys_of(config, prefix=""):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from keys_of(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def test_every_setting_is_found_with_the_default_that_it_has():
    assert list(all_settings()) == list(keys_of(Config()))
    for key, setting in all_settings().items():
        assert operator.attrgetter(key)(Config()) == setting.default, key
        assert type(operator.attrgetter(key)(Config())) is type(setting.default), key


def test_every_setting_says_what_it_does():
    for key, setting in all_settings().items():
        assert setting.doc.endswith("."), f"{key} has no docstring in config.py"
        assert "\n" not in setting.doc


def test_a_section_holds_those_below_it():
    assert sections() == [
        "prepare",
        "detect",
        "distill",
        "distill.targets",
        "distill.colearning",
        "eval",
    ]
    inside = [setting.key for setting in settings_of("distill")]
    assert {"distill.lr", "distill.targets.zoom"} <= set(inside)
    assert all(key.startswith("distill.") for key in inside)
    assert [setting.key for setting in settings_of("distill.lr")] == ["distill.lr"]
    assert len(settings_of("")) == len(all_settings())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("distil", "did you mean 'distill'"),
        ("distill.epoch", "did you mean 'distill.epochs'"),
        ("xyz", "choose from"),
    ],
)
def test_a_name_that_is_not_there_is_told_the_nearest(name, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(name)


def test_what_is_empty_is_called_so():
    assert [default_text(value) for value in (None, "", [])] == ["empty"] * 3
    assert [default_text(value) for value in (0, False, 0.0, ["a", "b"])] == [
        "0",
        "false",
        "0.0",
        "a, b",
    ]


def test_piped_it_is_a_yaml_that_config_reads(tmp_path, capsys):
    run_settings("")
    shown = capsys.readouterr().out
    (tmp_path / "all.yaml").write_text(shown, encoding="utf-8")
    assert load_config(tmp_path / "all.yaml") == Config()
    assert len(shown.splitlines()) == len(all_settings()) + len(
        sections()
    )  # a setting a line, for grep
    assert "  lr: 0.0005  # Step size at the start of the decay." in shown


def test_values_of_a_part_of_it_are_taken(tmp_path):
    text = as_yaml(settings_of("distill.targets")).replace("zoom: 2.0", "zoom: 3.0")
    (tmp_path / "part.yaml").write_text(text, encoding="utf-8")
    assert load_config(tmp_path / "part.yaml").distill.targets.zoom == 3.0


@pytest.mark.parametrize("columns", [80, 160])
def test_on_a_terminal_it_is_a_table_that_fits(monkeypatch, capsys, columns):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    run_settings("distill")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= columns
    words = " ".join(" ".join(lines).split())
    assert "tu-tf_efficientnet_lite0" in words  # not broken
    assert ("(default: 0.0005)" in words) == (columns == 80)  # no room for a column of its own
