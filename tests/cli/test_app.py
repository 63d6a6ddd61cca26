"""Options become a config: each reaches its setting. Exit statuses, one-line errors, and a quick
`--help`."""

import gc
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest
import typer

from meddistill.base.errors import InputError
from meddistill.cli import app as cli
from meddistill.evaluation.request import FolderRequest, OtherMasks
from meddistill.settings.config import Config

# Where each command hands over: the module that it imports then, and the function in it.
HANDS_OVER = {
    "prepare": ("meddistill.stages.prepare", "run_prepare"),
    "detect": ("meddistill.stages.detect", "run_detect"),
    "distill": ("meddistill.stages.distill", "run_distill"),
    "eval": ("meddistill.stages.evaluate", "run_eval"),
    "run": ("meddistill.pipeline", "run_pipeline"),
    "demo": ("meddistill.pipeline", "run_demo"),
}
# Option of a command, as typed -> what arrives: a setting of the config, or an argument of the
# function.
CASES = [
    ("prepare", "--source D", "source", "D"),
    ("prepare", "--dataset folder", "dataset", "folder"),
    ("prepare", "--images *.jpg", "images", "*.jpg"),
    ("prepare", "--masks m/*", "masks", "m/*"),
    ("prepare", "--accept moved", "accept", ["moved"]),
    ("prepare", "--classes a,b", "classes", ["a", "b"]),
    ("prepare", "--findings a=1,b=2", "findings", ["a=1", "b=2"]),
    ("prepare", "--healthy N --healthy M", "healthy", ["N", "M"]),
    ("prepare", "--groups g.csv", "groups", "g.csv"),
    ("prepare", "--boxes b.csv", "boxes", "b.csv"),
    ("prepare", "--table t.xlsx", "table", "t.xlsx"),
    ("prepare", "--unannotated none", "unannotated", "none"),
    ("prepare", "--annotators union", "annotators", "union"),
    ("prepare", "--resplit", "resplit", True),
    ("prepare", "--test fold=4", "test", "fold=4"),
    ("prepare", "--val fold=3", "val", "fold=3"),
    ("prepare", "--box-fraction 0.25", "box_fraction", 0.25),
    ("prepare", "--box-count 50", "box_count", 50),
    ("prepare", "--box-every 3", "box_every", 3),
    ("prepare", "--keep-names", "keep_names", True),
    ("prepare", "--resample-masks", "resample_masks", True),
    ("prepare", "--channel t1ce", "channel", "t1ce"),
    ("prepare", "--axis coronal", "axis", 1),
    ("prepare", "--label 1,4", "label", "1,4"),
    ("prepare", "--boxes-per case", "boxes_per", "case"),
    ("prepare", "--fit-masks", "fit_masks", True),
    ("prepare", "--fit-boxes scale", "fit_boxes", "scale"),
    ("prepare", "--group-from TCGA_.+", "group_from", "TCGA_.+"),
    ("prepare", "--folds 5", "folds", 5),
    ("prepare", "--fold 2 --folds 5", "fold", 2),
    ("prepare", "--strict", "strict", True),
    ("prepare", "--update", "update=", True),
    ("prepare", "--set prepare.min_area_px=7", "min_area_px", 7),
    ("prepare", "--seed 5", "seed=", 5),
    ("prepare", "--overwrite", "overwrite=", True),
    ("prepare", "--out O", "out=", Path("O")),
    ("detect", "--weights w.pt", "weights", "w.pt"),
    ("detect", "--no-train", "train", False),
    ("detect", "--train", "train", True),
    ("detect", "--epochs 3", "epochs", 3),
    ("detect", "--confidence 0.4", "confidence", 0.4),
    ("detect", "--trust-weights", "trust_weights", True),
    ("detect", "--data D", "data=", Path("D")),
    ("detect", "--set detect.image_size=320", "image_size", 320),
    ("detect", "--seed 5", "seed=", 5),
    ("detect", "--device cuda:1", "device=", "cuda:1"),
    ("detect", "--overwrite", "overwrite=", True),
    ("detect", "--out O", "out=", Path("O")),
    ("distill", "--size best", "size", "best"),
    ("distill", "--teacher litemedsam", "teacher", "litemedsam"),
    ("distill", "--boxes b.csv", "boxes_file", "b.csv"),
    ("distill", "--from S", "warm_start", "S"),
    ("distill", "--epochs 3", "epochs", 3),
    ("distill", "--batch-size 4", "batch_size", 4),
    ("distill", "--data D", "run.data", Path("D")),
    ("distill", "--set distill.targets.jitter_copies=2", "targets.jitter_copies", 2),
    ("distill", "--seed 5", "seed=", 5),
    ("distill", "--device cpu", "device=", "cpu"),
    ("distill", "--overwrite", "overwrite=", True),
    ("distill", "--out O", "out=", Path("O")),
    ("eval", "--split val", "split", "val"),
    ("eval", "--findings a,b", "findings", ["a", "b"]),
    ("eval", "--threshold 0.3", "threshold", 0.3),
    ("eval", "--flip-average", "flip_average", True),
    ("eval", "--keep-largest", "keep_largest", True),
    ("eval", "--min-component-px 9", "min_component_px", 9),
    ("eval", "--student S", "student=", Path("S")),
    ("eval", "--boxes b.csv", "boxes=", Path("b.csv")),
    ("eval", "--data D", "data=", Path("D")),
    ("eval", "--masks-from M", "other=", OtherMasks(Path("M"))),
    ("eval", "--name N --masks-from M", "other=", OtherMasks(Path("M"), "N")),
    ("eval", "--resample-masks --masks-from M", "other=", OtherMasks(Path("M"), resample=True)),
    ("eval", "--foreign far=F --foreign G", "foreign=", ["far=F", "G"]),
    ("eval", "--set eval.baselines=false", "baselines", False),
    ("eval", "--seed 5", "seed=", 5),
    ("eval", "--device cpu", "device=", "cpu"),
    ("eval", "--overwrite", "overwrite=", True),
    ("eval", "--out O", "out=", Path("O")),
    ("run", "--source D", "prepare.source", "D"),
    ("run", "--size small", "distill.size", "small"),
    ("run", "--set distill.epochs=2", "distill.epochs", 2),
    ("run", "--seed 5", "seed", 5),
    ("run", "--device cpu", "device=", "cpu"),
    ("run", "--overwrite", "overwrite=", True),
    ("demo", "--device cpu", "device=", "cpu"),
    ("demo", "--overwrite", "overwrite=", True),
]
# Tested apart below, or not a setting.
ELSEWHERE = {
    "--help",
    "-h",
    "--config",
    ("prepare", "--dry-run"),
    *(("eval", f"--{name}") for name in ("images", "masks", "compare", "aggregate")),
}


@pytest.fixture
def handed_over(monkeypatch):
    """Stand-ins for the modules that the commands import; returns the list of their calls."""
    calls = []
    for module, _ in HANDS_OVER.values():
        stand_in = types.ModuleType(module)
        monkeypatch.setitem(sys.modules, module, stand_in)
    for module, function in [
        *HANDS_OVER.values(),
        ("meddistill.stages.evaluate", "run_eval_folders"),
    ]:
        setattr(
            sys.modules[module],
            function,
            lambda *args, _name=function, **named: calls.append((_name, args, named)),
        )
    return calls


def _meddistill(*arguments):
    """Run a command in this process as the console script would; returns the exit status."""
    argv, sys.argv = sys.argv, ["meddistill", *map(str, arguments)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        cli.main()
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return 0


def _config_of(args):
    return next(argument for argument in args if type(argument).__name__.endswith("Config"))


def _argument(args, named, name):
    """What arrives by a name: an argument, or a field of the request that holds several."""
    requests = [argument for argument in args if type(argument).__name__.endswith("Request")]
    return named[name] if name in named else getattr(requests[0], name)


def _setting(config, dotted):
    for name in dotted.split("."):
        config = getattr(config, name)
    return config


def _arrived(args, named, where):
    if where == "run.data":
        return args[0].data
    if where.endswith("="):
        return _argument(args, named, where.rstrip("="))
    return _setting(_config_of(args), where)


@pytest.mark.parametrize(
    ("command", "typed", "where", "value"), CASES, ids=lambda value: str(value)[:40]
)
def test_option_arrives(handed_over, command, typed, where, value):
    assert _meddistill(command, "RUN", *typed.split()) == 0
    (function, args, named), *more = handed_over
    assert more == []
    assert function == HANDS_OVER[command][1]
    assert args[0].root == Path("RUN")
    assert _arrived(args, named, where) == value
    # Without the option something else arrives, or the test would see nothing.
    handed_over.clear()
    if typed not in ("--train",):
        _meddistill(command, "RUN")
        (_, args, named) = handed_over[0]
        assert value != _arrived(args, named, where)


@pytest.mark.parametrize(
    ("typed", "name", "value"),
    [
        ("", "masks_of", ""),
        ("--masks", "masks_of", "student"),
        ("--masks-of teacher", "masks_of", "teacher"),
        ("--out O", "out", Path("O")),
        ("--device cuda", "device", "cuda"),
        ("--overwrite", "overwrite", True),
    ],
)
def test_what_is_typed_for_boxes_arrives(monkeypatch, typed, name, value):
    found = {}
    stand_in = types.ModuleType("meddistill.stages.boxes")
    stand_in.run_boxes = lambda run, to, **named: found.update(run=run.data, to=to, **named)
    monkeypatch.setitem(sys.modules, "meddistill.stages.boxes", stand_in)
    assert _meddistill("boxes", "RUN", "--to", "coco", "--data", "D", *typed.split()) == 0
    assert (found["to"], found["run"], found[name]) == ("coco", Path("D"), value)


def test_every_option_is_in_the_table():
    told = {(command, typed.split()[0]) for command, typed, _, _ in CASES}
    commands = typer.main.get_command(cli.app).commands
    assert HANDS_OVER.keys() <= commands.keys()
    for command in HANDS_OVER:
        for parameter in commands[command].params:
            for option in [*parameter.opts, *parameter.secondary_opts]:
                if (
                    option.startswith("-")
                    and option not in ELSEWHERE
                    and (command, option) not in ELSEWHERE
                ):
                    assert (command, option) in told, (
                        f"{command} {option} reaches no setting in this test"
                    )


def _parameters():
    """Every option and argument, with the words that its command is called by."""
    app = typer.main.get_command(cli.app)
    assert len(app.commands) >= 13
    for name, command in [("", app), *app.commands.items()]:
        assert command.help, name
        for parameter in command.params:
            yield f"meddistill {name} {parameter.opts[0]}", parameter


def test_every_option_says_what_it_does_and_its_default():
    actions = (
        "--version",
        "--install-completion",
        "--show-completion",
    )  # they do something at once
    for name, parameter in _parameters():
        assert getattr(parameter, "help", None), f"{name} has no help"
        if parameter.opts[0].startswith("--") and parameter.opts[0] not in actions:
            assert re.search(r"\(default: [^)]+\)\.$", parameter.help), (
                f"{name} tells no default: {parameter.help}"
            )


def test_a_default_that_python_knows_is_the_one_that_is_told():
    for name, parameter in _parameters():
        told = re.search(r"\(default: ([^)]+)\)\.$", parameter.help or "")
        if told and parameter.default not in (None, False, [], ...):
            assert told[1] == str(parameter.default), name


def test_the_help_of_a_setting_is_what_config_says(capsys):
    assert _meddistill("distill", "--help") == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "Passes over the training cases (default: 30)." in shown
    assert f"Seed of every random choice (default: {Config().seed})." in shown
    assert _meddistill("prepare", "--help") == 0
    shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", capsys.readouterr().out).split())
    assert "COLUMN=VALUE[,VALUE]" in shown  # brackets are not taken for markup


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("prepare RUN --dataset ", {"auto", "folder", "brain-tumor", "coco"}),
        ("prepare RUN --dataset co", {"coco"}),
        (
            "distill RUN --teacher sam2.1",
            {"sam2.1-tiny", "sam2.1-small", "sam2.1-base-plus", "sam2.1-large"},
        ),
        ("teachers --fetch lite", {"litemedsam"}),
        ("eval RUN --split ", {"train", "val", "test"}),
        ("eval RUN --device ", {"auto", "cpu", "cuda", "mps"}),
        ("config d", {"detect", "distill", "distill.targets", "distill.colearning"}),
        ("distill RUN --set distill.ep", {"distill.epochs="}),
        ("st", {"status"}),
    ],
)
def test_the_shell_completes(typed, offered):
    code = (
        "import sys\nfrom meddistill.cli import app as cli\nsys.argv = ['meddistill']\n"
        "try:\n    cli.main()\n"
        "finally:\n    assert not {'torch', 'ultralytics', 'sam2', 'timm'} & sys.modules.keys(), "
        "'heavy'\n"
    )
    asked = {"COMP_WORDS": f"meddistill {typed}", "COMP_CWORD": str(len(f"{typed}.".split()))}
    environment = os.environ | asked | {"_MEDDISTILL_COMPLETE": "complete_bash"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "heavy" not in found.stderr
    names = {line.split(",")[-1] for line in found.stdout.split()}
    assert offered <= names, found
    if not typed.endswith(" "):
        assert names == offered


def test_completion_can_be_installed(tmp_path):
    environment = os.environ | {
        "HOME": str(tmp_path),
        "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
    }
    command = [sys.executable, "-m", "meddistill", "--show-completion", "bash"]
    shown = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "COMPLETE" in shown


def test_verbose_shows_the_resolved_settings(handed_over, capsys):
    assert _meddistill("detect", "RUN", "--epochs", "3") == 0
    assert capsys.readouterr().err == ""
    assert _meddistill("-v", "detect", "RUN", "--epochs", "3") == 0
    shown = capsys.readouterr().err.splitlines()
    assert "detect.epochs: 3 (default: 60)" in shown
    assert "detect.batch_size: 16" in shown
    assert "seed: 0" in shown
    assert not [line for line in shown if line.startswith("distill.")]


def test_a_command_collects_its_garbage_though_the_start_did_not(handed_over):
    enabled = []
    sys.modules["meddistill.stages.detect"].run_detect = lambda *_, **__: enabled.append(
        gc.isenabled()
    )
    gc.disable()
    try:
        assert _meddistill("detect", "RUN") == 0
    finally:
        gc.enable()
    assert enabled == [True]


def test_other_libraries_are_heard_with_verbose_alone(handed_over, capsys):
    def chat(*_, **__):
        warnings.warn("a torch warning", UserWarning, stacklevel=1)
        logging.getLogger("timm").info("loading")
        logging.getLogger("matplotlib.font_manager").warning("building the font cache")
        logging.getLogger("anything").error("a problem")

    sys.modules["meddistill.stages.detect"].run_detect = chat
    assert _meddistill("detect", "RUN") == 0
    assert capsys.readouterr().err == "anything: a problem\n"
    assert _meddistill("--verbose", "detect", "RUN") == 0
    shown = capsys.readouterr().err
    for text in (
        "a torch warning",
        "timm: loading",
        "building the font cache",
        "anything: a problem",
    ):
        assert text in shown
    assert _meddistill("-q", "-v", "detect", "RUN") == 2


@pytest.mark.parametrize("command", ["prepare", "detect", "distill", "eval", "run"])
def test_config_file_arrives_and_flags_go_over_it(handed_over, tmp_path, command):
    yaml = tmp_path / "my.yaml"
    yaml.write_text(
        "seed: 3\nprepare: {min_area_px: 4}\ndetect: {epochs: 4}\ndistill: {epochs: 4}\neval: "
        "{batch_size: 4}\n"
    )
    assert _meddistill(command, "RUN", "--config", yaml) == 0
    assert _meddistill(command, "RUN", "--config", yaml, "--seed", 9) == 0
    (_, args, first), (_, args_over, second) = handed_over
    if command == "run":
        assert (args[1].seed, args_over[1].seed) == (3, 9)
        assert args[1].detect.epochs == args[1].distill.epochs == args[1].prepare.min_area_px == 4
    else:
        assert (first["seed"], second["seed"]) == (3, 9)
        key = {"prepare": "min_area_px", "eval": "batch_size"}.get(command, "epochs")
        assert getattr(_config_of(args), key) == 4


def test_eval_of_folders(handed_over):
    typed = "--images I --masks M --student S --out O --device cpu --threshold 0.3"
    assert _meddistill("eval", *typed.split()) == 0
    ((function, args, _),) = handed_over
    assert function == "run_eval_folders"
    assert args[0] == FolderRequest(Path("I"), Path("M"), Path("S"), Path("O"), device="cpu")
    assert args[1].threshold == 0.3


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("eval --images I --masks M", "needs all of --images, --masks, --student and --out"),
        ("eval RUN --images I", "either RUN or --images and --masks"),
        ("eval RUN --name N", "--name is about another tool's masks"),
        ("eval RUN --resample-masks", "--resample-masks is about another tool's masks"),
        ("eval RUN --masks-from M --compare student boxes", "--compare reads finished"),
        ("eval A B --masks-from M --aggregate", "--aggregate reads finished evaluations"),
        ("eval --images I --masks M --student S --out O --masks-from M", "goes with a RUN"),
        (
            "distill RUN --set distill.epoch=2",
            "unknown key 'distill.epoch'; did you mean 'epochs'?",
        ),
        ("distill RUN --set distill.epochs", "--set expects section.key=value"),
        ("distill RUN --set distill.epochs=many", "epochs"),
        ("distill RUN --set distill.decoder_channels=64,32", "is a list in brackets, [a, b]"),
        ("distill RUN --epochs 0", "epochs must be at least 1, got 0"),
        ("run RUN --config nowhere.yaml", "config file nowhere.yaml does not exist"),
        ("prepare RUN --box-fraction 2", "box_fraction must lie in"),
        ("eval RUN --set eval.findings=${x}", "eval.findings Interpolation key 'x' not found"),
        ("distill RUN --set distill=???", "Missing mandatory value: distill"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_status_1(handed_over, capsys, typed, message):
    assert _meddistill(*typed.split()) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert handed_over == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distill: {epochs: 1\n", "line 2, column 1: expected ',' or '}'"),
        ("distill:\n  epochs: 1\n  epochs: 2\n", "line 3, column 3: found duplicate key epochs"),
    ],
)
def test_a_mistake_in_yaml_is_told_with_its_line(handed_over, capsys, tmp_path, text, message):
    config = tmp_path / "c.yaml"
    config.write_text(text)
    assert _meddistill("distill", "RUN", "--config", str(config)) == 1
    assert message in capsys.readouterr().err


def test_a_path_is_no_name_of_another_setting(handed_over):
    assert _meddistill("prepare", "RUN", "--source", "a${b", "--source", "${c}") == 0
    config = _config_of(handed_over[0][1])
    assert (config.source, config.more_sources) == ("a${b", ["${c}"])


def test_an_error_inside_a_stage_is_one_line_too(handed_over, capsys, monkeypatch):
    def fail(*_, **__):
        raise InputError("the [bold]image[/bold] x.png is\u00a0broken")

    sys.modules["meddistill.stages.prepare"].run_prepare = fail
    assert _meddistill("prepare", "RUN") == 1
    assert capsys.readouterr().err == "error: the [bold]image[/bold] x.png is\u00a0broken\n"


def test_a_bug_keeps_its_traceback(handed_over):
    def fail(*_, **__):
        raise ZeroDivisionError("a bug")

    sys.modules["meddistill.stages.prepare"].run_prepare = fail
    with pytest.raises(ZeroDivisionError, match="a bug"):
        _meddistill("prepare", "RUN")


@pytest.mark.parametrize(
    "typed", ["nonsense", "prepare", "distill RUN --epochs many", "detect RUN --bogus"]
)
def test_usage_errors_are_status_2(handed_over, capsys, typed):
    assert _meddistill(*typed.split()) == 2
    assert "Usage" in capsys.readouterr().err
    assert handed_over == []


def test_help_is_quick_and_version_is_told():
    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, check=True
        ).stdout

    loaded = run(
        "-c", "import sys; from meddistill.cli import app; print(*sorted(sys.modules))"
    ).split()
    assert "typer" in loaded
    heavy = {
        "torch",
        "ultralytics",
        "sam2",
        "cv2",
        "pandas",
        "scipy",
        "omegaconf",
        "matplotlib",
        "lightning",
        "timm",
    }
    assert heavy.isdisjoint(loaded)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    shown = run("-m", "meddistill", "--help")
    # Processor time, so that a busy machine does not fail it: about 0.5 s, where torch alone takes
    # more than 2.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1.5
    assert all(command in shown for command in HANDS_OVER)
    assert run("-m", "meddistill", "--version").startswith("meddistill 0.")
