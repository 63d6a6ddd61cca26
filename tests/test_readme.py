"""README.md tells the truth: its commands parse and the files that it names exist."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_spec = importlib.util.spec_from_file_location("check_readme", ROOT / "scripts/check_readme.py")
check_readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_readme)
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_of_the_readme_is_right():
    found = check_readme.commands(README)
    assert len(found) > 8
    assert {command: why for command in found if (why := check_readme.problem(command))} == {}


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("meddistill distil RUN", "no command 'distil'"),
        ("meddistill distill RUN --epoch 3", "No such option"),
        ("meddistill distill RUN --epochs many", "valid integer"),
        ("meddistill run RUN --config configs/nowhere.yaml", "configs/nowhere.yaml does not exist"),
        ("bash scripts/nowhere.sh", "scripts/nowhere.sh does not exist"),
    ],
)
def test_a_wrong_command_is_seen(command, why):
    assert why in check_readme.problem(command)


def test_commands_are_found_in_blocks_and_in_text():
    blocks = "```bash\nmeddistill eval RUN     # a comment\n```\n```\nmeddistill no / yes\n```\n"
    text = "Type `meddistill teachers`.\n" + blocks
    assert check_readme.commands(text) == ["meddistill eval RUN", "meddistill teachers"]


def test_your_own_data_goes_through_all_stages():
    assert [words[1] for words in check_readme.own_data(README)] == ["prepare", "detect", "distill", "eval"]


@pytest.mark.slow
def test_the_four_commands_of_the_readme_do_run():
    check_readme.execute(README)
