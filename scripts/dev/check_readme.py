"""Hold README.md to the truth: every command in it must parse, every file it names must exist, and
most are done.

    .venv/bin/python scripts/dev/check_readme.py             # parse them all: seconds
    .venv/bin/python scripts/dev/check_readme.py --execute   # and do them on a few sample slices: about two minutes

What needs a GPU, several processes, a download, a data set that is not here, or many minutes is
parsed only.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import typer

from meddistill.cli import app as cli
from meddistill.data.sources.phantom import write_phantom

ROOT = Path(__file__).resolve().parents[2]
# Quick settings that are added to the README's own, so that its commands can be done at all here.
_PREPARE = ["--set", "prepare.test_fraction=0.34", "--set", "prepare.val_fraction=0.5"]
_DETECT = ["--set", "detect.epochs=1", "--set", "detect.image_size=64"]
_DISTILL = [
    "--set",
    "distill.epochs=1",
    "--set",
    "distill.image_size=64",
    "--set",
    "distill.encoder_weights=none",
    "--set",
    "distill.targets.jitter_copies=1",
    "--set",
    "distill.targets.views=whole",
]
SMALL = {
    "prepare": _PREPARE,
    "detect": [*_DETECT, "--weights", "yolo11n.yaml"],
    "distill": _DISTILL,
    "run": [*_PREPARE, *_DETECT, *_DISTILL],
}
# What stands for the README's capital words; `Your own data` makes runs/mine out of DIR.
MEANT = {
    "RUN": "runs/mine",
    "STUDENT": "runs/mine/student",
    "IMAGES...": "DIR/images",
    "IMAGES": "DIR/images",
    "MASKS": "DIR/masks",
}
# A command with one of these is parsed only.
PARSED_ONLY = re.compile(
    r"^(uv|bash) |^meddistill (demo|detect RUN|distill RUN|prepare RUN)|cuda|--fetch|brain.tumor|configs/(?!quickstart)"
)


def commands(text: str) -> list[str]:
    """Every command line of the README: in ```bash blocks, and in `code` that begins with
    meddistill or bash."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    return [line for line in [*lines, *inline] if re.match(r"(uv run )?(meddistill|bash) ", line)]


def problem(command: str) -> str | None:
    """What is wrong with a command, or None: an unknown option, a value that does not fit, a file
    that is not there."""
    words = shlex.split(command)
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    for word in words:
        if re.match(r"(configs|scripts)/", word) and not (ROOT / word).exists():
            return f"{word} does not exist"
    if words[0] == "bash":
        return None
    known = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    words = [word for word in words[1:] if word not in ("-q", "--quiet", "--verbose")]
    if not words or words[0] not in known:
        return f"there is no command {' '.join(words[:1])!r}"
    try:
        with known[words[0]].make_context(words[0], words[1:]):
            return None
    except typer.Exit:  # --help
        return None
    except Exception as error:
        # Typer has its own copy of click, whose usage errors have no public name.
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())


def executable(text: str) -> list[list[str]]:
    """The README's commands that can be done on sample slices, in its order, with real paths and
    small settings."""
    found = []
    for number, command in enumerate(dict.fromkeys(commands(text))):
        if PARSED_ONLY.search(command):
            continue
        words = [MEANT.get(word, word) for word in shlex.split(command)]
        if words[1] == "run":  # a RUN of its own
            words[2] = "runs/whole"
        # `OUT` is another folder for each command.
        words = [f"out{number}" if word == "OUT" else word for word in words]
        words = [str(ROOT / word) if word.startswith("configs/") else word for word in words]
        found.append([*words, *SMALL.get(words[1], [])])
    return found


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def execute(text: str) -> None:
    """Do them in an empty folder, then the README's Python. Raises: CalledProcessError for one that
    fails."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "DIR"
        write_phantom(source, cases=6, seed=0, size=128)
        images = sorted((source / "images").iterdir())
        # Any box will do; the last image was looked at and has none.
        rows = [f"{path.name},30,30,70,70" for path in images[:-1]] + [f"{images[-1].name},,,,"]
        (Path(scratch) / "boxes.csv").write_text(
            "\n".join(["image,x1,y1,x2,y2", *rows]) + "\n", encoding="utf-8"
        )
        for words in executable(text):
            _do(words, [sys.executable, "-m", *words], scratch)
        read = f"import cv2\nimage = cv2.imread({str(images[0])!r})\n"
        for block in python_blocks(text):
            _do(["python", "-c", block], [sys.executable, "-c", read + block], scratch)


def _do(shown: list[str], line: list[str], folder: str) -> None:
    print("+", shlex.join(shown), flush=True)
    subprocess.run(line, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--execute", action="store_true", help="also do what can be done on sample slices"
    )
    arguments = parser.parse_args()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = commands(text)
    wrong = [(command, why) for command in found if (why := problem(command))]
    for command, why in wrong:
        print(f"README.md: `{command}`: {why}", file=sys.stderr)
    print(f"{len(found) - len(wrong)} of {len(found)} commands of README.md are right")
    if arguments.execute and not wrong:
        execute(text)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
