"""`scripts/demo.sh` beside a `uv` that only notes what it is asked for."""

import os
import shutil
import subprocess

from support.paths import SCRIPTS


def test_the_demo_takes_away_no_package_that_is_there(tmp_path):
    """`uv sync` removes all that it was not asked for, as the extras that `test.sh` installed."""
    for name in ("demo.sh", "_setup.sh"):
        (tmp_path / "scripts").mkdir(exist_ok=True)
        shutil.copy(SCRIPTS / name, tmp_path / "scripts")
    for path, said in (("bin/uv", "uv"), (".venv/bin/meddistill", "meddistill")):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(f'#!/bin/sh\necho {said} "$@"\n')
        (tmp_path / path).chmod(0o755)
    done = subprocess.run(
        ["bash", tmp_path / "scripts/demo.sh", "here"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    )
    installed, began = done.stdout.splitlines()
    assert installed.split()[:2] == ["uv", "sync"]
    assert {"--no-dev", "--inexact"} <= set(installed.split())
    assert began == "meddistill demo here"
