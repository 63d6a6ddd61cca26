"""README.md and the other pages tell the truth: what they type, name and link to is there."""

import importlib.util
import re
from pathlib import Path

import pytest

from meddistill.base.csv_tables import columns
from meddistill.colearning.colearning_row import ColearningRow
from meddistill.data.prepare.duplicates import Duplicate
from meddistill.data.sources.known_sources import SOURCES
from meddistill.evaluation.box_scores import BoxScoreRow
from meddistill.evaluation.scores import ScoreRow
from meddistill.evaluation.volumes import VolumeRow
from meddistill.labelling.box_table import LabelRow
from meddistill.labelling.rounds import CurvePoint
from meddistill.run.audits import AuditRow
from meddistill.run.tables import BoxRow, Case, QualityRow
from meddistill.stages.predict import PredictionRow
from meddistill.training.epoch_log import EpochRow

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("check_readme", ROOT / "scripts/dev/check_readme.py")
check_readme = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(check_readme)
PAGES = check_readme.pages()
README = (ROOT / "README.md").read_text(encoding="utf-8")
ALL = check_readme.all_text()


def page(name):
    return (ROOT / ".github/docs" / name).read_text(encoding="utf-8")


def section(text, title):
    """What stands below the heading `title`, up to the next one of any depth."""
    return re.search(
        rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", text, flags=re.MULTILINE | re.DOTALL
    )[1]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_is_wrong_with_the_page(path):
    assert check_readme.problems(path) == []


def test_every_page_is_looked_at():
    names = {path.relative_to(ROOT).as_posix() for path in PAGES}
    assert names >= {
        "README.md",
        ".github/CONTRIBUTING.md",
        ".github/docs/files.md",
        "configs/README.md",
    }
    assert len(check_readme.commands(README)) > 8
    assert len(check_readme.commands(ALL)) > 40


def test_the_readme_is_read_to_the_end():
    assert len(README.splitlines()) <= 250


def test_every_page_is_one_link_away_from_the_readme():
    linked = {(ROOT / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", README)}
    ours = [path for path in PAGES[1:] if path.name != "PULL_REQUEST_TEMPLATE.md"]
    assert [path.name for path in ours if path not in linked] == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("meddistill distil RUN", "no command 'distil'"),
        ("meddistill distill RUN --epoch 3", "No such option"),
        ("meddistill distill RUN --epochs many", "valid integer"),
        ("meddistill distill RUN --set distill.epoch=3", "unknown key 'distill.epoch'"),
        ("meddistill run RUN --config configs/nowhere.yaml", "configs/nowhere.yaml does not exist"),
        ("bash scripts/nowhere.sh", "scripts/nowhere.sh does not exist"),
        ("MEDDISTILL_SEEDS='0 1' bash scripts/nowhere.sh", "scripts/nowhere.sh does not exist"),
        ("python scripts/nowhere.py OUT", "scripts/nowhere.py does not exist"),
        ("python scripts/dev/check_readme.py --do", "check_readme.py has no option --do"),
    ],
)
def test_a_wrong_command_is_seen(command, why):
    assert why in check_readme.problem(command)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("See `configs/nowhere.yaml`.", "configs/nowhere.yaml does not exist"),
        ("Set `distill.epoch`.", "no setting distill.epoch"),
        ("Give `--box-part`.", "no option --box-part"),
        ("Give `prepare --epochs 3`.", "no option --epochs"),
        ("Broken `prepare\n--epochs 3`.", "no option --epochs"),
    ],
)
def test_a_wrong_name_is_seen(text, why):
    (found,) = check_readme.wrong_names(text)
    assert why in found


def test_what_is_still_to_be_built_is_not_looked_up():
    text = "## Rooms\n<!-- house -->\n\n`tests/rooms/` is\n\n"
    text += "## Next\n\n`tests/next/` is not, and `tests/next/NAME.py` is for a reader to name.\n"
    assert list(check_readme.wrong_names(text)) == ["`tests/next/`: tests/next/ does not exist"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](nowhere.md)", ["nowhere.md leads nowhere"]),
        ("![a](nowhere.png)", ["nowhere.png leads nowhere"]),
        ("[a](../outside.md)", ["../outside.md leads nowhere"]),
        ("[a](README.md#nowhere)", ["README.md#nowhere leads to no heading"]),
        ("[a](#nowhere)\n# Here", ["#nowhere leads to no heading"]),
        (
            "[a](README.md#first-run) [b](https://example.org) ![c](.github/overview.png) "
            "`[d](nowhere.md)`",
            [],
        ),
    ],
)
def test_a_wrong_link_is_seen(text, wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(check_readme, "ROOT", tmp_path)
    (tmp_path / ".github").mkdir()
    (tmp_path / ".github/overview.png").touch()
    (tmp_path / "README.md").write_text("# First run\n", encoding="utf-8")
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    assert list(check_readme.wrong_links(tmp_path / "page.md", text)) == wrong


def test_anchors_are_those_of_github():
    text = "# The paper's scripts, and ours\n## `cases.csv`\n## A [link](b.md)\n"
    text += "```\n# no heading\n```\n# A link\n"
    assert check_readme.anchors(text) == {
        "the-papers-scripts-and-ours",
        "casescsv",
        "a-link",
        "a-link-1",
    }


def test_commands_are_found_in_blocks_and_in_text():
    blocks = "```bash\nmeddistill eval RUN     # a comment\n```\n```\nmeddistill no / yes\n```\n"
    text = "Type `meddistill teachers`, or `python\nscripts/a.py`.\n" + blocks
    assert check_readme.commands(text) == [
        "meddistill eval RUN",
        "meddistill teachers",
        "python scripts/a.py",
    ]


def test_most_commands_can_be_done_in_the_order_of_the_pages():
    done = [words[1] for words in check_readme.executable(ALL)]
    assert done[:4] == ["prepare", "detect", "distill", "eval"]
    assert set(done) >= {
        "predict",
        "export",
        "run",
        "verify",
        "sources",
        "teachers",
        "status",
        "config",
    }


def test_capital_words_become_paths():
    text = "`meddistill predict STUDENT IMAGES... --out OUT`, `meddistill eval RUN`"
    text += ", `meddistill run RUN --source DIR`"
    predict, evaluate, run = check_readme.executable(text)
    assert predict == ["meddistill", "predict", "runs/mine/student", "DIR/images", "--out", "out0"]
    assert evaluate == ["meddistill", "eval", "runs/mine"]
    assert run[:5] == ["meddistill", "run", "runs/whole", "--source", "DIR"]


@pytest.mark.parametrize(
    "command",
    [
        "bash scripts/demo.sh",
        "uv run meddistill demo",
        "python scripts/bench/run.py --only b",
        "MEDDISTILL_SEEDS=0 bash scripts/studies/brain_tumor.sh SOURCE START OUT",
        "meddistill teachers --fetch sam2.1-large",
        "meddistill distill runs/mine --device cuda",
        "meddistill run RUN --source DIR --config configs/brain_tumor.yaml",
    ],
)
def test_what_cannot_be_done_here_is_parsed_only(command):
    assert check_readme.problem(command) is None
    assert check_readme.executable(f"`{command}`") == []


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("`cases.csv`", Case),
        ("`duplicates.csv`", Duplicate),
        ("`boxes.csv`", BoxRow),
        ("`labels/boxes.csv`", LabelRow),
        ("`labels/audit/audit.csv`", AuditRow),
        ("`labels/rounds/curve.csv`", CurvePoint),
        ("`quality.csv`", QualityRow),
        ("`colearning.csv`", ColearningRow),
        ("`metrics.csv`", EpochRow),
        ("`per_case.csv`", ScoreRow),
        ("`per_case_boxes.csv`", BoxScoreRow),
        ("`per_volume.csv`", VolumeRow),
        ("`predictions.csv`", PredictionRow),
    ],
)
def test_every_column_of_every_table_is_explained(table, row):
    lines = [
        line for line in section(page("files.md"), table).splitlines() if line.startswith("| `")
    ]
    words = [code for line in lines for code in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert sorted(words) == sorted(columns(row))


def test_every_layout_is_listed():
    rows = re.findall(
        r"^\| `([a-z][\w-]*)` \|", section(page("data.md"), "Layouts"), flags=re.MULTILINE
    )
    assert sorted(rows) == sorted(SOURCES)


@pytest.mark.slow
def test_the_commands_of_the_pages_do_run():
    check_readme.execute(ALL)
