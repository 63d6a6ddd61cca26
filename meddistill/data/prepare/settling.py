"""What `prepare` settles before it reads an image: its settings, and what lies in RUN/data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError, StageError
from meddistill.base.files import read_json
from meddistill.data.formats.volume_slices import AXES
from meddistill.data.prepare.listing import Listed
from meddistill.data.sources.finest_plane import finest_axis
from meddistill.run.findings import read_findings
from meddistill.run.layout import CASES_CSV, RUN_JSON, UNFINISHED_JSON
from meddistill.run.record import changed_settings
from meddistill.run.tables import Case
from meddistill.settings import identity
from meddistill.settings.axes import AUTO, AXIAL
from meddistill.settings.prepare import PrepareConfig


def with_source(config: PrepareConfig) -> PrepareConfig:
    """A table of cases without a source speaks of what lies below its own folder."""
    if config.table and not config.source:
        return dataclasses.replace(config, source=str(Path(config.table).parent))
    return config


def with_axis(out: Path, config: PrepareConfig, overwrite: bool) -> PrepareConfig:
    """The config with `auto` decided: as it was in `out`, else by the volumes of the source."""
    if config.axis != AUTO:
        return config
    for path in (out / RUN_JSON, out / UNFINISHED_JSON):
        if path.exists() and not overwrite:
            known = read_json(path).get("settings", {}).get("axis", AXIAL)
            return dataclasses.replace(config, axis=int(known))
    axis = finest_axis(Path(config.source)) if Path(config.source).is_dir() else AXIAL
    console.say(
        f"volumes are cut into {AXES[axis]} slices: their finest plane (prepare.axis={axis})"
    )
    return dataclasses.replace(config, axis=axis)


def kept_without_source(out: Path, config: PrepareConfig, seed: int, overwrite: bool) -> bool:
    """Whether `out` is finished with these settings on a machine that does not have the source (a
    RUN can be moved)."""
    if not config.source:
        raise InputError("no source given; pass --source DIR, the folder of the images")
    there = all(Path(name).exists() for name in config.folders)
    if overwrite or there or not (out / RUN_JSON).exists():
        return False
    dataset = config.dataset
    if dataset == "auto":
        dataset = read_json(out / RUN_JSON).get("settings", {}).get("dataset")
    if changed_settings(out, "prepare", identity.of_prepare(config, seed, dataset)):
        raise StageError(
            f"{out} is finished with other settings, and the source {config.source} is not here"
        )
    console.say(
        f"{out} is finished with the same settings; the source is not on this machine, so it was "
        "not compared"
    )
    return True


def check_apart(config: PrepareConfig, out: Path) -> None:
    """Raises: InputError where `out` and a folder of the source lie in each other."""
    for name in config.folders:
        source, target = Path(name).resolve(), out.resolve()
        if source == target or source in target.parents or target in source.parents:
            raise InputError(
                f"{out} and the source {name} lie in each other; choose a RUN outside the source"
            )


def check_update(out: Path, settings: Mapping[str, Any], listed: Listed) -> list[Case]:
    """The cases of the finished run that is to be updated; none where there is nothing to update
    yet.

    Raises: StageError where it has other settings: an update adds cases, it does not change those
    that are there.
    """
    if not (out / RUN_JSON).exists():
        return []
    changed = changed_settings(out, "prepare", settings)
    if changed:
        raise StageError(
            f"{out} was made with other settings ({', '.join(changed)}), which --update would have "
            "to keep; "
            "--overwrite starts anew"
        )
    if (before := read_findings(out)) != listed.findings:
        raise StageError(
            f"{out} has the findings {', '.join(before.names)}, the source now shows "
            f"{', '.join(listed.findings.names)}: name them with --findings, and --overwrite starts anew"
        )
    return read_table(out / CASES_CSV, Case)
