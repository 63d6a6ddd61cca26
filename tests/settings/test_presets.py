"""`distill.size` is a layer under the user's own settings, and nothing more."""

import pytest
from omegaconf import OmegaConf
from support.paths import ROOT

from meddistill.base.errors import ConfigError
from meddistill.settings.config import Config
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.settings.presets import PRESETS, told_of_preset


def test_standard_is_the_defaults_and_says_nothing():
    assert load_config() == Config()
    assert load_config(None, {}, ["distill.size=standard"]) == Config()
    assert told_of_preset("standard", DistillConfig()) == ""


@pytest.mark.parametrize("size", PRESETS)
def test_each_size_is_settings_that_a_student_takes(size):
    found = OmegaConf.to_container(OmegaConf.structured(load_config(None, {"distill.size": size})))
    for key, value in PRESETS[size].items():
        if isinstance(value, dict):
            assert value.items() <= found["distill"][key].items()
        else:
            assert found["distill"][key] == value


def test_small_is_the_set_up_of_two_cores():
    told = OmegaConf.to_container(OmegaConf.load(ROOT / "configs/brain_tumor_cpu.yaml"))["distill"]
    assert {key: value for key, value in told.items() if key != "teacher"} == PRESETS["small"]


def test_the_page_has_the_values_of_the_table():
    page = (ROOT / ".github/docs/sizes.md").read_text(encoding="utf-8")
    table = page.split("\n## ", 1)[0]  # later tables tell of trainings, not of presets
    rows = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    shown = {row[1].split("`")[1]: row[2:5] for row in rows if len(row) > 4 and "`" in row[1]}
    configs = [load_config(None, {"distill.size": size}).distill for size in PRESETS]
    for name, values in shown.items():
        real = [str(OmegaConf.select(OmegaConf.structured(c), name)) for c in configs]
        if name == "encoder":
            values = ["tu-tf_" + value.lower().replace("-", "_") for value in values]
        assert values == real, name
    changed = {key for preset in PRESETS.values() for key in preset if key != "targets"}
    assert changed <= set(shown)


def test_all_that_the_user_sets_lies_over_it_wherever_it_is_named(tmp_path):
    yaml = tmp_path / "own.yaml"
    yaml.write_text("distill:\n  epochs: 7\n  size: best\n", encoding="utf-8")
    named_first = load_config(yaml, {"distill.batch_size": 3}, ["distill.ema_decay=0.5"])
    yaml.write_text("distill:\n  epochs: 7\n", encoding="utf-8")
    named_last = load_config(
        yaml, {"distill.batch_size": 3}, ["distill.ema_decay=0.5", "distill.size=best"]
    )
    assert named_first == named_last
    distill = named_last.distill
    assert (distill.epochs, distill.batch_size, distill.ema_decay) == (7, 3, 0.5)
    assert distill.image_size == PRESETS["best"]["image_size"]


def test_what_it_set_and_what_is_the_users_is_told():
    distill = load_config(None, {}, ["distill.size=small", "distill.targets.views=both"]).distill
    assert told_of_preset("small", distill) == (
        "distill.size=small sets image_size=192, epochs=8, lr=0.001, targets.jitter_copies=4; "
        "yours: targets.views=both"
    )


def test_a_size_that_is_not_there_is_one_clear_line():
    with pytest.raises(ConfigError, match="size is 'huge'; choose from small, standard, best"):
        load_config(None, {}, ["distill.size=huge"])
