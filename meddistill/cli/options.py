"""The commands' options: their types, help texts and what the shell completes. Imports no torch, as
`cli`."""

from __future__ import annotations

import dataclasses
import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from meddistill.base import console
from meddistill.settings.docs import all_settings, default_text, sections, with_default
from meddistill.settings.presets import PRESETS, told_of_preset

# Typer reads annotations at run time.
# ruff: noqa: UP045

STAGES_PANEL = "Stages, in order"
"""Of `meddistill --help`, where the four stages stand."""
_SHARED = "All stages"
_KEY = "setting_key"

Completion = Callable[[str], list[str]]


def option(*flags: str, text: str, default: str, **more: Any) -> Any:
    """An option that is no setting; `default` is what happens without it."""
    # Square brackets are markup to rich.
    return typer.Option(
        *flags, help=with_default(text, default).replace("[", "\\["), show_default=False, **more
    )


def setting(key: str, *flags: str, also: str = "", **more: Any) -> Any:
    """An option for a setting, where its help and default come from; `also` says how to type it."""
    found = all_settings()[key]
    default = default_text(found.default)
    if isinstance(found.default, bool):
        default = "on" if found.default else "off"  # a flag is not typed as true or false
    made = option(*flags, text=f"{found.doc} {also}".strip(), default=default, **more)
    setattr(made, _KEY, key)
    return made


def command(
    group: typer.Typer, panel: str, name: str | None = None
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """A decorator that makes a function of one dataclass a command of `group`.

    Each field is an option or an argument, in the order of the help; what was typed arrives as one
    object.
    """

    def register(do: Callable[[Any], None]) -> Callable[[Any], None]:
        kind = do.__annotations__["given"]

        def callback(**typed: Any) -> None:
            do(kind(**typed))

        callback.__name__, callback.__doc__ = do.__name__, do.__doc__
        # What typer reads.
        callback.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]
        group.command(name, rich_help_panel=panel)(callback)
        return do

    return register


def flags_of(given: Any) -> dict[str, Any]:
    """What was typed for settings, by their key; None for those that were not typed."""
    flags: dict[str, Any] = {}
    for field in dataclasses.fields(given):
        for made in getattr(field.type, "__metadata__", ()):
            key = getattr(made, _KEY, None)
            if key is not None:
                flags[key] = _as_set(getattr(given, field.name), all_settings()[key].default)
    return flags


def _as_set(typed: Any, default: Any) -> Any:
    if isinstance(default, list):
        if isinstance(typed, list):
            return [str(each) for each in typed] or None
        return typed.split(",") if typed else None
    if isinstance(typed, list):
        typed = typed[0] if typed else None
    return str(typed) if isinstance(typed, Path) else typed


def more_sources(typed: Sequence[Path] | None) -> dict[str, Any]:
    """The setting for all sources but the first."""
    return {"prepare.more_sources": [str(path) for path in typed[1:]] if typed else None}


def _starting_with(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def choices(*names: str) -> Completion:
    return lambda incomplete: _starting_with(incomplete, names)


def complete_dataset(incomplete: str) -> list[str]:
    from meddistill.data.sources.known_sources import SOURCES

    return _starting_with(incomplete, ["auto", *SOURCES])


def complete_teacher(incomplete: str) -> list[str]:
    from meddistill.teachers.known_teachers import TEACHERS

    return _starting_with(incomplete, TEACHERS)


def complete_split(incomplete: str) -> list[str]:
    from meddistill.run.tables import SPLITS

    return _starting_with(incomplete, SPLITS)


def complete_section(incomplete: str) -> list[str]:
    return _starting_with(
        incomplete, [*sections(), *all_settings()] if "." in incomplete else sections()
    )


def complete_set(incomplete: str) -> list[str]:
    return _starting_with(incomplete, [f"{key}=" for key in all_settings()])


Run = Annotated[
    Path, typer.Argument(help="Directory that holds all stages of one experiment.", metavar="RUN")
]
StudentDir = Annotated[
    Path, typer.Argument(help="Directory of the student, e.g. RUN/student.", metavar="STUDENT")
]
Source = Annotated[Optional[Path], setting("prepare.source")]
Sources = Annotated[
    Optional[list[Path]],
    setting("prepare.source", also="May be repeated, for folders with other findings each."),
]
Size = Annotated[Optional[str], setting("distill.size", "--size", autocompletion=choices(*PRESETS))]
ConfigFile = Annotated[
    Optional[Path],
    option(
        "--config",
        text="YAML file with a section a stage.",
        default="none",
        rich_help_panel=_SHARED,
    ),
]
Overrides = Annotated[
    Optional[list[str]],
    option(
        "--set",
        text="One setting, as section.key=value; may be repeated; `meddistill config` lists them.",
        default="none",
        autocompletion=complete_set,
        rich_help_panel=_SHARED,
    ),
]
Seed = Annotated[Optional[int], setting("seed", rich_help_panel=_SHARED)]
Device = Annotated[
    str,
    option(
        text="cpu, cuda, cuda:1, mps, or auto: cuda where there is one.",
        default="auto",
        autocompletion=choices("auto", "cpu", "cuda", "mps"),
        rich_help_panel=_SHARED,
    ),
]
Overwrite = Annotated[
    bool,
    option(
        "--overwrite",
        text="Replace what is finished with other settings.",
        default="off",
        rich_help_panel=_SHARED,
    ),
]
Out = Annotated[
    Optional[Path],
    option(text="Write here.", default="the stage's directory in RUN", rich_help_panel=_SHARED),
]
Data = Annotated[
    Optional[Path],
    option(text="Prepared data to read.", default="RUN/data", rich_help_panel=_SHARED),
]
Threshold = Annotated[
    Optional[float],
    option(text="Probability from which a pixel is lesion, 0 to 1.", default="the student's"),
]


def run_dir(path: Path, data: Path | None = None) -> Any:
    from meddistill.run.layout import RunDir

    return RunDir(path, data)


def load(
    config: Path | None, flags: dict[str, Any], overrides: list[str] | None, *stages: str
) -> Any:
    """The settings of all stages; `--verbose` shows those of `stages`."""
    from meddistill.settings.layers import load_config

    settings = load_config(config, flags, overrides or [])
    for key, found in all_settings().items():
        if key.split(".")[0] in ("seed", *stages):
            value = operator.attrgetter(key)(settings)
            told = "" if value == found.default else f" (default: {default_text(found.default)})"
            console.detail(f"{key}: {default_text(value)}{told}")
    if "distill" in stages and (told := told_of_preset(settings.distill.size, settings.distill)):
        console.say(told)
    return settings
