"""The ablation: rows vary the default, results are kept as they come, the table compares case by
case."""

import csv

import pytest
from support.painting_teacher import PaintingTeacher
from support.paths import ROOT
from support.script_module import load_script
from support.tiny_student import TinyStudent

from meddistill.base.errors import InputError
from meddistill.data.frames import Preprocessing
from meddistill.data.sources.phantom import write_phantom
from meddistill.run.layout import RunDir
from meddistill.settings.distill import DistillConfig
from meddistill.settings.layers import load_config
from meddistill.settings.prepare import PrepareConfig
from meddistill.settings.targets import TargetsConfig
from meddistill.stages.prepare import run_prepare
from meddistill.student.student import Student
from meddistill.training import fitting

CONFIG = DistillConfig(
    image_size=64,
    epochs=1,
    batch_size=4,
    precision="32-true",
    targets=TargetsConfig(jitter_copies=1),
)


@pytest.fixture
def ablate(monkeypatch):
    module = load_script("studies/ablate")
    monkeypatch.setattr(fitting, "build_student", lambda *_, **__: TinyStudent())
    monkeypatch.setattr(
        module, "load_student", lambda *_: Student(TinyStudent(), Preprocessing(64, threshold=0.4))
    )
    return module


@pytest.fixture
def run(tmp_path):
    write_phantom(tmp_path / "source", cases=24, seed=0, size=64)
    run_prepare(
        RunDir(tmp_path / "run"),
        PrepareConfig(source=str(tmp_path / "source"), dataset="folder"),
        seed=0,
    )
    return RunDir(tmp_path / "run")


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_row_changes_known_settings(ablate):
    base = load_config(ROOT / "configs/ablation.yaml").distill
    for name, changes in ablate.ROWS.items():
        assert (ablate.vary(base, changes) != base) == (name != "default")


def test_two_rounds_make_as_many_steps_as_one(ablate):
    varied = ablate.vary(ablate.dataclasses.replace(CONFIG, epochs=6), ablate.ROWS["two rounds"])
    assert (varied.rounds, varied.epochs) == (2, 3)


def test_rows_are_kept_as_they_come_and_not_run_again(ablate, run, tmp_path, monkeypatch):
    out = tmp_path / "ablation"
    ablate.run_ablation(
        run, CONFIG, ["default"], [0, 1], out, device="cpu", teacher=PaintingTeacher()
    )
    assert [(row["row"], row["seed"]) for row in table(out / "runs.csv")] == [
        ("default", "0"),
        ("default", "1"),
    ]
    made = []
    train = ablate.run_distill
    monkeypatch.setattr(
        ablate,
        "run_distill",
        lambda *args, **kwargs: made.append(kwargs["seed"]) or train(*args, **kwargs),
    )
    text = ablate.run_ablation(
        run,
        CONFIG,
        ["default", "no features"],
        [0, 1],
        out,
        device="cpu",
        teacher=PaintingTeacher(),
    )
    assert made == [0, 1]  # of the new row alone
    assert len(table(out / "runs.csv")) == 4
    cases = table(out / "cases.csv")
    assert len(cases) == 4 * int(table(out / "runs.csv")[0]["cases"])
    assert (out / "table.md").read_text() == text
    assert "| no features | 2 |" in text


def test_the_table_compares_the_same_cases(ablate):
    def scores(row, seed, *values):
        return [
            ablate.CaseRow(row, seed, f"c{i}", f"g{i}", value) for i, value in enumerate(values)
        ]

    def summary(row, seed, mean):
        return ablate.RunRow(
            row, seed, mean, mean, 0.0, 3, 5, None, 1, 1, 64, "32-true", "cpu", 1.0, 5_400_000, 30.0
        )

    runs = [summary("default", 0, 0.5), summary("default", 1, 0.7), summary("other", 0, 0.7)]
    cases = (
        scores("default", 0, 0.4, 0.5, 0.6)
        + scores("default", 1, 0.6, 0.7, 0.8)
        + scores("other", 0, 0.6, 0.7, 0.8)
    )
    default, other = ablate.make_table(runs, cases).splitlines()[2:]
    assert default == "| default | 2 | 0.600 | 0.141 | 0.600 | 0.0% |  |  | 5.40 | 30 |"
    assert other.startswith("| other | 1 | 0.700 |  | 0.700 | 0.0% | +0.100 (+0.100 to +0.100) |")


def test_rows_that_are_there_make_the_table_again(ablate, run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "ablation"
    text = ablate.run_ablation(
        run, CONFIG, ["default"], [0], out, device="cpu", teacher=PaintingTeacher()
    )
    monkeypatch.setattr(ablate, "run_distill", None)  # nothing is trained for it
    capsys.readouterr()
    ablate.app(["--table", str(out)], standalone_mode=False)
    assert capsys.readouterr().out.strip() == text.strip()


def test_a_split_without_masks_is_one_clear_line(ablate, run, tmp_path):
    cases = (
        (run.data / "cases.csv")
        .read_text()
        .replace(",boxes,1,", ",boxes,0,")
        .replace(",none,1,", ",none,0,")
    )
    (run.data / "cases.csv").write_text(cases)
    with pytest.raises(InputError, match="no val case with a mask"):
        ablate.run_ablation(run, CONFIG, ["default"], [0], tmp_path / "ablation")
