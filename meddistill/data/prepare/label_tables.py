"""What a source's dataset.json (MSD, nnU-Net) calls the values of its label maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.base.files import read_json
from meddistill.base.paths import printable, shown
from meddistill.data.findings import Colour, parse_colour
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.masks import Label
from meddistill.data.sources.walking import files_ending, walk_files

DATASET_JSON = "dataset.json"
BACKGROUND = "background"
_TOLD = 4

Values = dict[str, tuple[Label, ...]]
"""By name; background and `ignore` under `background`."""


def label_table(
    directory: Path, wanted: Collection[str] | None = None
) -> tuple[Path | None, Values]:
    """The dataset.json of a source, the one nearest to the top, and what it names; None and {} where
    none has labels. `wanted`: the names that count, None for all.

    Raises: InputError for a damaged one, and where several name values otherwise, unless none has a
    name that counts: then it is none of them.
    """
    found = {path: table_values(path) for path in _tables(directory)}
    told = {path: values for path, values in found.items() if values}
    if _differ(told):  # one that lies above no image, as beside results, has no say
        told = {path: values for path, values in told.items() if _above_images(path.parent)}
    if not told:
        return None, {}
    if _differ(told):
        names = {name for values in told.values() for name in values}
        if wanted is not None and names.isdisjoint(wanted):
            return None, {}
        raise InputError(_why(told, directory))
    return next(iter(told.items()))


def _tables(directory: Path) -> list[Path]:
    found = [path for path in files_ending(directory, (".json",)) if path.name == DATASET_JSON]
    return sorted(found, key=lambda path: (len(path.parts), path))


def _differ(told: Mapping[Path, Values]) -> bool:
    first = next(iter(told.values()), {})
    return any(values != first for values in told.values())


def _above_images(folder: Path) -> bool:
    endings = (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES, ".dcm")
    return any(path.name.lower().endswith(endings) for path in walk_files(folder, folder)[0])


def _why(told: Mapping[Path, Values], directory: Path) -> str:
    """What is wrong where tables contradict each other, with the sources that each is alone in."""
    first = next(iter(told.values()))
    other = next(path for path, values in told.items() if values != first)
    pair = (next(iter(told)), other)
    means = "; ".join(f"{shown(path, directory)} has {_listed(told[path])}" for path in pair)
    sources = " ".join(f"--source {printable(str(path.parent))}" for path in pair)
    return (
        f"{directory} holds {len(told)} {DATASET_JSON} of other labels ({means}): give each folder as a "
        f"source of its own, such as {sources} --findings auto; or name the values yourself, such as "
        "--findings a=1,b=2"
    )


def _listed(values: Values) -> str:
    named = [
        f"{name}={'+'.join(f'{value:g}' for value in of)}"
        for name, of in values.items()
        if name != BACKGROUND
    ]
    return ", ".join(named[:_TOLD]) + ", ..." * (len(named) > _TOLD) or "none"


def table_values(path: Path) -> Values:
    """Values by name of one dataset.json; {} where it has no labels."""
    content = read_json(path)
    labels = content.get("labels") if isinstance(content, Mapping) else None
    if not isinstance(labels, Mapping):
        return {}
    found: Values = {BACKGROUND: ()}
    try:
        for key, value in labels.items():
            # MSD: "1": "liver"; nnU-Net: "liver": 1, or "whole": [1, 2] for regions.
            name, of = (value, [key]) if isinstance(value, str) else (str(key), value)
            name = printable(name).strip()
            numbers = tuple(float(each) for each in _as_list(of))
            if name.lower() in (BACKGROUND, "ignore"):
                found[BACKGROUND] += tuple(number for number in numbers if number)
            else:
                found[name] = numbers
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} has labels that are no numbers: {error}") from error
    return found


def table_colours(path: Path, known: Mapping[str, Any]) -> dict[str, Colour]:
    """Colours by name that a dataset.json has under `colours`, a key of ours; {} where there is
    none. `known`: the names of its labels."""
    try:
        colours = read_json(path).get("colours", {}).items()
        found = {printable(str(name)): parse_colour(text) for name, text in colours}
    except (AttributeError, ConfigError) as error:
        raise InputError(f"{path} has colours that are none: {error}") from error
    strange = [name for name in found if name not in known]
    if strange:
        raise InputError(
            f"{path} has a colour of '{strange[0]}', which is none of its labels"
            f"{nearest(strange[0], [name for name in known if name != BACKGROUND])}"
        )
    return found


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
