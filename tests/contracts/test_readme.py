"""README.md tells the truth: its commands parse and the files that it names exist."""

import importlib.util
import re

import pytest
from support.paths import ROOT

from meddistill.base.files import columns
from meddistill.data.prepare.duplicates import Duplicate
from meddistill.evaluation.scores import ScoreRow
from meddistill.run.tables import BoxRow, Case, QualityRow
from meddistill.stages.predict import PredictionRow
from meddistill.training.epoch_log import EpochRow

_spec = importlib.util.spec_from_file_location("check_readme", ROOT / "scripts/dev/check_readme.py")
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


def test_most_commands_can_be_done_in_the_order_of_the_readme():
    done = [words[1] for words in check_readme.executable(README)]
    assert done[:4] == ["prepare", "detect", "distill", "eval"]
    assert set(done) >= {"predict", "export", "run", "verify", "sources", "teachers"}


def test_capital_words_become_paths():
    text = "`meddistill predict STUDENT IMAGES... --out OUT`, `meddistill eval RUN`, `meddistill run RUN --source DIR`"
    predict, evaluate, run = check_readme.executable(text)
    assert predict == ["meddistill", "predict", "runs/mine/student", "DIR/images", "--out", "out0"]
    assert evaluate == ["meddistill", "eval", "runs/mine"]
    assert run[:5] == ["meddistill", "run", "runs/whole", "--source", "DIR"]


@pytest.mark.parametrize(
    "command",
    [
        "bash scripts/demo.sh",
        "uv run meddistill demo",
        "meddistill teachers --fetch sam2.1-large",
        "meddistill distill runs/mine --device cuda",
        "meddistill run RUN --source DIR --config configs/brain_tumor.yaml",
    ],
)
def test_what_cannot_be_done_here_is_parsed_only(command):
    assert check_readme.problem(command) is None
    assert check_readme.executable(f"`{command}`") == []


@pytest.mark.parametrize(
    "row", [Case, Duplicate, BoxRow, QualityRow, EpochRow, ScoreRow, PredictionRow]
)
def test_every_column_of_every_table_is_explained(row):
    reference = README.split("Every column and key", 1)[1].split("</details>", 1)[0]
    words = {word for code in re.findall(r"`([^`\n]+)`", reference) for word in code.split(",")}
    assert set(columns(row)) <= words


def test_files_that_the_readme_links_to_are_there():
    links = re.findall(r"\]\(([^)#][^)]*)\)", README)
    assert links
    assert [
        link for link in links if not link.startswith("https://") and not (ROOT / link).exists()
    ] == []


@pytest.mark.slow
def test_the_commands_of_the_readme_do_run():
    check_readme.execute(README)
