"""Hold README.md and all other pages to the truth: what they type, name and link to is there.

    .venv/bin/python scripts/dev/check_readme.py             # look at them all: seconds
    .venv/bin/python scripts/dev/check_readme.py --execute   # and do their commands on sample slices

The latter takes two minutes on two free cores, four beside other work. Pages are README.md and
every Markdown file below .github/, configs/ and scripts/. Of each page: commands parse, with their
options, settings and files; the table of annotation formats is that of the registry;
links lead to a file that exists, and to a heading of it; options,
settings and files that are named in `code` exist. Files are not looked up between `<!-- house -->`
and the next heading, which describe what is still to be built. What needs a GPU, several processes,
a download, a data set that is not here, or many minutes is parsed only.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import typer

from meddistill.base.errors import MedDistillError
from meddistill.cli import app as cli
from meddistill.data.formats.known_annotation_formats import formats_table
from meddistill.data.sources.known_sources import sources_table
from meddistill.data.sources.phantom import write_phantom
from meddistill.settings.docs import all_settings, sections
from meddistill.settings.layers import load_config

ROOT = Path(__file__).resolve().parents[2]
# Quick settings that are added to the pages' own, so that their commands can be done at all here.
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
# What stands for the pages' capital words; `Your own data` makes runs/mine out of DIR.
MEANT = {
    "RUN": "runs/mine",
    "STUDENT": "runs/mine/student",
    "IMAGES...": "DIR/images",
    "IMAGES": "DIR/images",
    "MASKS": "DIR/masks",
}
# A command with one of these is parsed only.
PARSED_ONLY = re.compile(
    r"^(uv|bash|python) |^[A-Z_]+=|^meddistill (demo|label|detect RUN|distill RUN|prepare RUN)"
    r"|runs/NAME|prepare runs/mine --update$"  # what somebody labelled
    r"|cuda|--fetch|brain.tumor"
    r"|configs/(?!quickstart)"
)
_COMMAND = re.compile(r"(([A-Z_]+=(\S+|\"[^\"]*\") )*)(uv run )?(meddistill|bash|python) ")
# The authors' own files, whose options are not ours.
_PUBLISHED = ("Creat_yolodata.py", "predict_eval.py")
# Options of the tools that a page may name beside ours.
_FOREIGN_OPTIONS = {"--slow", "--help", "--nproc-per-node", "--nodes"}
_TABLES = {"formats": formats_table, "sources": sources_table}
_TABLE = re.compile(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", flags=re.DOTALL)
_HOUSE = re.compile(r"<!-- house -->.*?(?=^#|\Z)", flags=re.MULTILINE | re.DOTALL)
_FENCE = re.compile(r"^```.*?^```", flags=re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """README.md, then every other page in the order of its path."""
    others = [
        path
        for room in (".github", "configs", "scripts")
        for path in sorted((ROOT / room).rglob("*.md"))
    ]
    return [ROOT / "README.md", *others]


def all_text() -> str:
    """All pages in one, in their order."""
    return "\n".join(path.read_text(encoding="utf-8") for path in pages())


def commands(text: str) -> list[str]:
    """Every command line of a page: of ```bash blocks, and `code` that begins with a program."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in [*lines, *codes(text)] if _COMMAND.match(line)]


def codes(text: str) -> list[str]:
    """Every `code` of the running text, also one that is broken across lines."""
    paragraphs = re.split(r"\n\s*\n", _FENCE.sub("\n\n", text))
    found = [code for paragraph in paragraphs for code in re.findall(r"`([^`]+)`", paragraph)]
    return [" ".join(code.split()) for code in found]


def problem(command: str) -> str | None:
    """What is wrong with a command, or None.

    That is an unknown option, a value that does not fit, or a file that is not there.
    """
    words = shlex.split(command)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words[:2] == ["uv", "run"]:
        words = words[2:]
    for word in words:
        if is_ours(word) and not (ROOT / word).exists():
            return f"{word} does not exist"
    if words[0] == "meddistill":
        return _problem_of_ours(words[1:])
    script = next((ROOT / word for word in words[1:] if word.startswith("scripts/")), None)
    return _unknown_option(script, words) if words[0] == "python" and script else None


def _problem_of_ours(words: Sequence[str]) -> str | None:
    known = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    words = [word for word in words if word not in ("-q", "--quiet", "-v", "--verbose")]
    if words == ["--help"] or words == ["--version"]:
        return None
    if not words or words[0] not in known:
        return f"there is no command {' '.join(words[:1])!r}"
    try:
        with known[words[0]].make_context(words[0], list(words[1:])):
            pass
        load_config(
            None, {}, [value for word, value in itertools.pairwise(words) if word == "--set"]
        )
    except typer.Exit:  # --help
        return None
    except MedDistillError as error:
        return str(error)
    except Exception as error:
        # Typer has its own copy of click, whose usage errors have no public name.
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())
    return None


def _unknown_option(script: Path, words: Sequence[str]) -> str | None:
    known = _options_in(script)
    unknown = [word for word in words if word.startswith("--") and word not in known]
    return f"{script.name} has no option {unknown[0]}" if unknown else None


@cache
def _options_in(script: Path) -> frozenset[str]:
    """Options that the text of a script defines or hands on."""
    return frozenset(re.findall(r"--[a-z][\w-]*", script.read_text(encoding="utf-8"))) | {"--help"}


@cache
def _options_of_commands() -> dict[str, frozenset[str]]:
    group = typer.main.get_command(cli.app)
    found = {"": frozenset(option for parameter in group.params for option in parameter.opts)}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        options = [
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        ]
        found[name] = frozenset(options) | {"--help"}
    return found


def is_ours(word: str) -> bool:
    """Whether a word is a path in this repository; `NAME` stands for what a reader will choose."""
    return "NAME" not in word and bool(
        re.fullmatch(r"(\.github|\.ci|configs|scripts|tests|meddistill)/[\w./-]+", word)
    )


def wrong_names(text: str) -> Iterator[str]:
    """What `code` in a page's text names and is not there: files, settings, options."""
    built = _HOUSE.sub("", text)
    for code in codes(built):
        for word in code.split():
            if is_ours(word) and not (ROOT / word).exists():
                yield f"`{code}`: {word} does not exist"
    of_command = _options_of_commands()
    known = frozenset[str]().union(_FOREIGN_OPTIONS, *of_command.values())
    known |= frozenset[str]().union(
        *(_options_in(path) for path in (ROOT / "scripts").rglob("*.py"))
    )
    for code in codes(text):
        if code.startswith(_PUBLISHED) or _COMMAND.match(code):
            continue
        for key in re.findall(r"(?<![\w./-])((?:prepare|detect|distill|eval)\.[\w.]*\w)", code):
            if (
                key not in all_settings()
                and key not in sections()
                and not key.endswith((".py", ".sh"))
            ):
                yield f"`{code}`: there is no setting {key}"
        options = re.findall(r"(?<!\S)--[\w-]+", code)
        allowed = of_command.get(
            code.split()[0], known
        )  # `prepare --update` is held to prepare's own
        yield from (
            f"`{code}`: there is no option {option}" for option in options if option not in allowed
        )


def wrong_table(text: str) -> Iterator[str]:
    """The tables of annotation formats and of layouts must be those that the registries give."""
    for name, table in _TABLE.findall(text):
        there, expected = table.strip().splitlines(), _TABLES[name]()
        for line in expected:
            if line not in there:
                yield f"the table of {name} lacks {line}"
        for line in there:
            if line not in expected:
                yield f"the table of {name} should not have {line}"


def wrong_links(page: Path, text: str) -> Iterator[str]:
    """Relative links and pictures that lead to no file, or to no heading of it."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(
        r"(?:src|href)=\"([^\"]+)\"", text
    ):
        if re.match(r"(https?|mailto):", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.is_relative_to(ROOT) or not path.exists():
            yield f"{target} leads nowhere"
        elif anchor and (
            path.suffix != ".md" or anchor not in anchors(path.read_text(encoding="utf-8"))
        ):
            yield f"{target} leads to no heading"


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page: lower case, no punctuation, hyphens for spaces.

    A second heading of a name has -1 behind it.
    """
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *$", _FENCE.sub("", text), flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (unique := name if not number else f"{name}-{number}") in found:
            number += 1
        found.add(unique)
    return found


def problems(page: Path) -> list[str]:
    """Everything that is wrong with a page, a line each."""
    text = page.read_text(encoding="utf-8")
    wrong = [
        f"`{command}`: {why}"
        for command in commands(_HOUSE.sub("", text))
        if (why := problem(command))
    ]
    wrong += [*wrong_names(text), *wrong_links(page, text), *wrong_table(text)]
    return [f"{page.relative_to(ROOT).as_posix()}: {line}" for line in dict.fromkeys(wrong)]


def executable(text: str) -> list[list[str]]:
    """The commands that can be done on sample slices, in the order of the text.

    They have real paths in place of capital words, and small settings.
    """
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
    """Do them in an empty folder, then the text's Python.

    Raises: CalledProcessError for one that fails.
    """
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
    found = pages()
    wrong = [line for page in found for line in problems(page)]
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    print(
        f"{len(commands(all_text()))} commands on {len(found)} pages; {len(wrong)} things are wrong"
    )
    if arguments.execute and not wrong:
        execute(all_text())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
