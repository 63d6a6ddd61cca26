"""Every YAML under configs/ loads and opens with the command that runs it; the scripts of the paper
use it."""

import os
import re
import subprocess

import pytest
from omegaconf import OmegaConf
from support.paths import ROOT

from meddistill.base.errors import ConfigError
from meddistill.pipeline import QUICKSTART
from meddistill.settings.config import as_settings
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config

CONFIGS = sorted((ROOT / "configs").glob("**/*.yaml"))
PAPER_STEPS = sorted((ROOT / "scripts/paper").glob("[0-9]_*.sh"))


def _leaves(settings, prefix=""):
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_promised_configs_are_there():
    assert {path.name for path in CONFIGS} >= {"quickstart.yaml", "brain_tumor.yaml", "paper.yaml"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_loads_and_each_of_its_lines_arrives(path):
    loaded = dict(_leaves(as_settings(load_config(path))))
    written = dict(_leaves(OmegaConf.to_container(OmegaConf.load(path))))
    assert written, f"{path.name} sets nothing"
    for key, value in written.items():
        assert loaded[key] == value, key


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_opens_with_the_command_that_runs_it(path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert re.fullmatch(
        rf"# meddistill run RUN --source DIR --config {path.relative_to(ROOT).as_posix()}.*", first
    )


def test_quickstart_is_what_the_demo_does():
    # The demo has its settings in code, for a wheel holds no configs/.
    assert load_config(ROOT / "configs/quickstart.yaml") == QUICKSTART


def test_paper_has_the_published_settings():
    config = load_config(ROOT / "configs/paper.yaml")
    assert config.prepare.classes == ["pituitary"]
    assert (config.detect.image_size, config.detect.confidence) == (256, 0.5)
    distill = config.distill
    assert (distill.teacher, distill.student, distill.boxes) == (
        "sam2-large",
        "nested_unet",
        "detected",
    )
    assert (distill.optimizer, distill.lr, distill.epochs, distill.batch_size) == (
        "adam",
        1e-4,
        100,
        1,
    )
    assert (distill.weighting, distill.augment, distill.ema_decay) == ("paper", False, 0.0)
    assert (distill.lr_schedule, distill.confidence_gamma, distill.targets.min_trust) == (
        "constant",
        0.0,
        0.0,
    )
    assert distill.targets.min_trust_detected == 0
    assert distill.targets.jitter_copies == 0


def test_deep_supervision_goes_with_the_papers_network_alone():
    assert DistillConfig(student="nested_unet", deep_supervision=True).deep_supervision
    with pytest.raises(
        ConfigError, match="deep_supervision goes with student=nested_unet, not with 'unet'"
    ):
        DistillConfig(student="unet", deep_supervision=True)


def test_patience_does_not_go_with_keeping_the_last_epoch():
    assert DistillConfig(keep="last").keep == "last"
    with pytest.raises(ConfigError, match=r"keeps no other than the last; set patience=0"):
        DistillConfig(keep="last", patience=3)
    with pytest.raises(ConfigError, match="keep"):
        DistillConfig(keep="newest")


@pytest.mark.parametrize("script", PAPER_STEPS, ids=lambda path: path.name)
def test_paper_step_explains_itself(script):
    shown = subprocess.run(["bash", script, "--help"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(f"usage: bash scripts/paper/{script.name} RUN")
    missing = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert missing.returncode == 2
    assert "usage:" in missing.stderr


@pytest.mark.parametrize(
    ("script", "arguments", "command"),
    [
        ("1_prepare.sh", ["R", "S"], ["prepare", "R", "--source", "S"]),
        ("2_detect.sh", ["R"], ["detect", "R"]),
        ("3_distill.sh", ["R"], ["distill", "R"]),
        ("4_eval.sh", ["R"], ["eval", "R"]),
    ],
)
def test_paper_step_calls_its_command_with_the_papers_config(script, arguments, command, tmp_path):
    # `printf` stands in for meddistill: a line an argument, so that spaces are seen to survive.
    environment = os.environ | {"MEDDISTILL": r"printf %s\n"}
    shown = subprocess.run(
        ["bash", ROOT / "scripts/paper" / script, *arguments, "--set", "a=b c"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    assert shown.stdout.splitlines() == [
        *command,
        "--config",
        str(ROOT / "configs/paper.yaml"),
        "--set",
        "a=b c",
    ]


def test_four_paper_steps():
    assert [path.name[0] for path in PAPER_STEPS] == ["1", "2", "3", "4"]
