"""Hold README.md to the truth: every command in it must parse, every file it names must exist, and the four run.

.venv/bin/python scripts/check_readme.py             # parse them all: seconds
.venv/bin/python scripts/check_readme.py --execute   # and do `Your own data` on a few sample slices: a minute or two
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

from meddistill import cli
from meddistill.data.phantom import write_phantom

ROOT = Path(__file__).resolve().parents[1]
# Quick settings that are added to the README's own, so that its commands can be done at all here.
SMALL = {
    "prepare": ["--set", "prepare.test_fraction=0.34", "--set", "prepare.val_fraction=0.5"],
    "detect": ["--set", "detect.epochs=1", "--set", "detect.image_size=64", "--weights", "yolo11n.yaml"],
    "distill": ["--epochs", "1", "--set", "distill.image_size=64", "--set", "distill.encoder_weights=none",
                "--set", "distill.targets.jitter_copies=1"],
    "eval": [],
}  # fmt: skip


def commands(text: str) -> list[str]:
    """Every command line of the README: in ```bash blocks, and in `code` that begins with meddistill or bash."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line for line in [*lines, *inline] if re.match(r"(uv run )?(meddistill|bash) ", line)]


def problem(command: str) -> str | None:
    """What is wrong with a command, or None: an unknown option, a value that does not fit, a file that is not there."""
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


def own_data(text: str) -> list[list[str]]:
    """The commands of the section `Your own data`, one a stage."""
    section = text.split("## Your own data", 1)[1].split("\n## ", 1)[0]
    return [shlex.split(line) for line in commands(section) if line.startswith("meddistill ") and "runs/mine" in line]


def execute(text: str) -> None:
    """Do those commands in an empty folder on sample slices. Raises: CalledProcessError for one that fails."""
    with tempfile.TemporaryDirectory() as scratch:
        write_phantom(Path(scratch) / "DIR", cases=6, seed=0, size=128)
        for words in own_data(text):
            line = [sys.executable, "-m", *words, *SMALL.get(words[1], [])]
            print("+", shlex.join(["meddistill", *line[3:]]), flush=True)
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            subprocess.run(line, cwd=scratch, env=environment, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", action="store_true", help="also do the commands of `Your own data`")
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
