"""`meddistill config`: every setting with its default and effect. Reads no RUN."""

from __future__ import annotations

import json
import shutil
import sys

from meddistill.base import console
from meddistill.settings.docs import Setting, default_text, settings_of, with_default

_WIDE = 120
"""Columns from which a column of defaults leaves room for the effects."""


def run_settings(section: str) -> None:
    """Print a section's settings, one setting, or all of them: a table on a terminal, else YAML for
    `--config`.

    Raises: ConfigError with the nearest right name for a section that is not there.
    """
    found = settings_of(section)
    if not sys.stdout.isatty():
        console.answer(as_yaml(found))
        return
    told = [(setting.key, default_text(setting.default), setting.doc) for setting in found]
    if shutil.get_terminal_size().columns >= _WIDE:
        console.answer_table(("setting", "default", "effect"), told)
    else:
        console.answer_table(
            ("setting", "effect"), [(key, with_default(doc, default)) for key, default, doc in told]
        )
    console.say(
        "change one with --set KEY=VALUE, or in a YAML file for --config; null or [] is empty"
    )


def as_yaml(settings: list[Setting]) -> str:
    """The settings with their defaults, nested by section, each with its docstring behind it on the
    same line."""
    lines: list[str] = []
    open_sections: list[str] = []
    for setting in settings:
        *inside, name = setting.key.split(".")
        shared = 0
        while (
            shared < min(len(inside), len(open_sections))
            and inside[shared] == open_sections[shared]
        ):
            shared += 1
        lines += [f"{'  ' * depth}{inside[depth]}:" for depth in range(shared, len(inside))]
        open_sections = inside
        # A value in JSON is one in YAML, too.
        lines.append(f"{'  ' * len(inside)}{name}: {json.dumps(setting.default)}  # {setting.doc}")
    return "\n".join(lines)
