"""Every script answers `--help` with what it does, its arguments and an example, and does nothing
else."""

import re
import runpy
import subprocess
import sys

import pytest
from support.paths import SCRIPTS

PYTHON = sorted(path for path in SCRIPTS.rglob("*.py") if not path.name.startswith("_"))
SHELL = sorted(
    path for path in SCRIPTS.glob("**/*.sh") if not path.name.startswith("_")
)  # those are sourced, or imported


def check_help(text, script):
    name = re.escape(script.relative_to(SCRIPTS.parent).as_posix())
    assert re.search("^usage:", text, flags=re.MULTILINE | re.IGNORECASE)
    assert re.search(rf"^ +\S*python scripts/|^Example: .*bash {name}", text, flags=re.MULTILINE)
    assert len(re.sub(r"\s+", " ", text)) > 120, "what does it do?"


@pytest.mark.parametrize("script", PYTHON, ids=lambda path: path.name)
def test_python_script_explains_itself(script, monkeypatch, capsys):
    # In this process: a new one would spend seconds on importing torch.
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert not ended.value.code
    check_help(capsys.readouterr().out, script)


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_script_explains_itself(script, tmp_path):
    shown = subprocess.run(
        ["bash", script, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    check_help(shown.stdout, script)
    assert "set -euo" not in shown.stdout
    assert not list(tmp_path.iterdir())


def test_every_kind_of_script_is_looked_at():
    assert {path.name for path in [*PYTHON, *SHELL]} >= {
        "make_picture.py",
        "run.py",
        "demo.sh",
        "4_eval.sh",
    }
