"""The end of a stage: a box on a terminal, a line a fact elsewhere; and a command that can be
pasted."""

import io
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from meddistill.base import console
from meddistill.base.errors import InputError
from meddistill.run import recorded_options
from meddistill.run.headlines import headline
from meddistill.run.layout import RunDir
from meddistill.run.next_commands import after_detect, after_distill, after_prepare
from meddistill.run.tables import Case
from meddistill.settings import identity
from meddistill.settings.colearning import ColearningConfig
from meddistill.settings.detect import DetectConfig
from meddistill.settings.distill import DistillConfig
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.layers import load_config

FACTS = [
    ("cases", "6 (train 2, val 2, test 2)"),
    ("report", "runs/mine/" + "long/" * 14 + "report.html"),
]
RUN = RunDir(Path("my runs/a"))


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 80 columns; what it shows."""
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = io.StringIO()
    monkeypatch.setattr(
        console, "console", Console(file=shown, force_terminal=True, color_system=None, width=80)
    )
    return shown


def test_on_a_terminal_it_is_a_box_that_fits(screen):
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    lines = screen.getvalue().splitlines()
    assert lines[0].startswith("╭─ prepare ─")
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "next: meddistill detect runs/mine"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("CI", "true"), ("TERM", "dumb")])
def test_where_plain_text_is_asked_for_nothing_is_drawn(screen, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert screen.getvalue().isascii()
    assert screen.getvalue().splitlines() == [
        "prepare",
        "  cases: 6 (train 2, val 2, test 2)",
        f"  report: {FACTS[1][1]}",
        "next: meddistill detect runs/mine",
    ]


def test_a_log_has_a_line_a_fact(capsys):
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[1:3] == [
        "  cases: 6 (train 2, val 2, test 2)",
        f"  report: {FACTS[1][1]}",
    ]


def test_quiet_says_nothing(screen, monkeypatch):
    monkeypatch.setattr(console, "_quiet", True)
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert screen.getvalue() == ""


def test_a_stage_in_a_row_names_no_next_one(capsys):
    with console.next_hidden():
        console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert "next" not in capsys.readouterr().err
    console.summary("prepare", FACTS, "meddistill detect runs/mine")
    assert "next: meddistill detect" in capsys.readouterr().err


def cases_of(*annotations):
    """Training cases."""
    return [
        Case(str(n), "train", "", "", each, True, "", 8, 8, int(each == "boxes"), "", "", "")
        for n, each in enumerate(annotations)
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (lambda: after_prepare(RUN, RUN.data, cases_of("boxes")), ["detect", "my runs/a"]),
        (
            lambda: after_prepare(RUN, Path("other data"), cases_of("boxes", "none")),
            ["detect", "my runs/a", "--data", "other data"],
        ),
        (
            lambda: after_prepare(RUN, RUN.data, cases_of("boxes", "unknown")),
            ["distill", "my runs/a"],
        ),
        (lambda: after_prepare(RUN, RUN.data, cases_of("unknown")), ["label", "my runs/a"]),
        (lambda: after_detect(RUN, RUN.detector), ["distill", "my runs/a"]),
        (
            lambda: after_detect(RUN, Path("d"), Path("other data")),
            ["distill", "my runs/a", "--data", "other data", "--boxes", "d/boxes.csv"],
        ),
        (lambda: after_distill(RUN, RUN.student), ["eval", "my runs/a"]),
        (
            lambda: after_distill(RUN, RUN.root / "student-b"),
            ["eval", "my runs/a", "--student", "my runs/a/student-b", "--out", "my runs/a/eval-b"],
        ),
    ],
)
def test_the_next_command_can_be_pasted(line, words, monkeypatch):
    monkeypatch.setattr(recorded_options, "has_gpu", lambda: True)
    assert shlex.split(line()) == ["meddistill", *words]


@pytest.mark.parametrize(
    ("gpu", "files", "teacher"),
    [
        (False, {}, "litemedsam"),
        (True, {}, None),
        (True, {"run.json": '{"settings": {"teacher": "medsam2"}}'}, "medsam2"),
        (True, {"unfinished.json": '{"settings": {"teacher": "medsam2"}}'}, "medsam2"),
        (False, {"run.json": '{"settings": {"teacher": "sam2.1-large"}}'}, None),
        (True, {"run.json": "{"}, None),
        (True, {"encodings/a.npz": "", "encodings/teacher.txt": "medsam2"}, "medsam2"),
        (True, {"encodings/a.npz": ""}, "litemedsam"),  # not signed: `label` of before
    ],
)
def test_distill_goes_on_with_the_teacher_that_the_run_has(
    tmp_path, monkeypatch, gpu, files, teacher
):
    monkeypatch.setattr(recorded_options, "has_gpu", lambda: gpu)
    run = RunDir(tmp_path)
    for name, text in files.items():
        (run.teacher / name).parent.mkdir(parents=True, exist_ok=True)
        (run.teacher / name).write_text(text)
    words = ["distill", str(tmp_path), *(["--teacher", teacher] if teacher else [])]
    assert shlex.split(after_detect(run, run.detector)) == ["meddistill", *words]
    few = after_prepare(run, run.data, cases_of("boxes", "unknown"))
    assert shlex.split(few) == ["meddistill", *words]


def test_options_are_those_that_were_typed():
    config = DistillConfig(
        teacher="medsam2",
        epochs=4,
        decoder_channels=[8, 8],
        tiles="never",
        lr=0.002,
        feature_weight=0.0,
        colearning=ColearningConfig(unboxed="propose", rounds=3),
    )
    words = recorded_options.options_of(
        "distill", {"settings": identity.of_distill(config, seed=1)}
    )
    assert words == [
        *("--seed", "1", "--teacher", "medsam2"),
        *("--set", "distill.colearning.rounds=3", "--set", "distill.decoder_channels=[8, 8]"),
        *("--epochs", "4"),
    ]
    typed = load_config(None, {}, [word for word in words if "=" in word]).distill
    assert (typed.colearning.rounds, typed.decoder_channels) == (3, [8, 8])


def test_options_of_an_evaluation_and_a_detector_are_those_that_were_typed():
    config = EvalConfig(split="val", findings=["a", "b c"], flip_average=True, tolerance_px=1.5)
    record = {
        "settings": identity.of_eval(config, seed=3),
        "inputs": {"other": "f", "name of other": "nnU-Net", "foreign skin": "f"},
    }
    assert recorded_options.options_of("eval", record) == [
        *("--split", "val", "--findings", "a,b c", "--flip-average"),
        *("--set", "eval.tolerance_px=1.5", "--seed", "3"),
        *("--masks-from", "DIR", "--name", "nnU-Net", "--foreign", "skin=DIR"),
    ]
    for given, used, words in (
        ("yolo11n.pt", "yolo11n.pt", []),
        ("yolo11n.pt", "yolo11n.yaml, random weights", []),  # there was no network
        ("yolov8n.pt", "yolov8n.yaml, random weights", ["--weights", "yolov8n.pt"]),
        ("yolo11n.yaml", "yolo11n.yaml, random weights", ["--weights", "yolo11n.yaml"]),
        ("sha", "mine.pt", ["--weights", "mine.pt"]),
    ):
        record = {
            "settings": identity.of_detect(DetectConfig(epochs=9), seed=0),
            "inputs": {"weights": given},
            "results": {"start": used},
        }
        told = recorded_options.options_of("detect", record)
        assert told == ["--epochs", "9", *words]
    taken = identity.of_detect(DetectConfig(train=False, confidence=0.3), seed=0)
    told = recorded_options.options_of("detect", {"settings": taken})
    assert told == ["--no-train", "--confidence", "0.3"]


def test_results_of_another_shape_are_one_line():
    with pytest.raises(InputError, match="its results are not those of detect"):
        headline("detect", {"confidence": "high"})
    assert headline("a stage of a later version", {"anything": 1}) == []
