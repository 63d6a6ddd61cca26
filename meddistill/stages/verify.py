"""`meddistill verify`: is every file of RUN still what its stage wrote? Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError, MedDistillError, StageError
from meddistill.base.files import read_json
from meddistill.run.fingerprints import (
    changed_since,
    describe_output,
    fingerprint_stage,
    looked_at_once,
)
from meddistill.run.images import image_path
from meddistill.run.layout import CASES_CSV, RUN_JSON, RunDir
from meddistill.run.tables import Case


@looked_at_once()
def run_verify(run: RunDir) -> int:
    """Compare the files and folders that each run.json names, and the images that cases.csv names,
    with their SHA-256.

    Says what was checked, and warns where a stage was made from other data or another teacher than
    RUN holds now. Returns the number of files. Raises: StageError naming what is missing or
    changed, or where no stage is finished.
    """
    stages = sorted(path.parent for path in run.root.glob(f"*/{RUN_JSON}"))
    if not stages:
        raise StageError(
            f"{run.root} holds no finished stage; `meddistill prepare` makes the first"
        )
    problems: list[str] = []
    total = 0
    for stage in stages:
        expected = dict(_expected(stage))
        with console.progress(f"verify {stage.name}", len(expected)) as bar:
            for path, about in expected.items():
                problems += _problem(path, about, stage)
                total += about.get("files", 1)
                bar.advance()
        _warn_of_other_inputs(stage)
    if problems:
        more = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise StageError(
            f"{len(problems)} of {total} files are not what was written: "
            f"{'; '.join(problems[:10])}{more}; "
            "restore them, or make the stage again with --overwrite"
        )
    console.answer(f"{total} files of {len(stages)} stages are what was written")
    return total


def _expected(stage: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    record = _record(stage)
    for name, about in record["outputs"].items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{stage / RUN_JSON} names a file outside its directory: {name}")
        yield stage / name, about
    if CASES_CSV in record["outputs"] and (stage / CASES_CSV).exists():
        for case in read_table(stage / CASES_CSV, Case):
            yield image_path(stage, case), {"sha256": case.sha256}


def _record(stage: Path) -> dict[str, Any]:
    record = read_json(stage / RUN_JSON)
    outputs = record.get("outputs") if isinstance(record, dict) else None
    if not isinstance(outputs, dict) or not all(
        isinstance(about, dict) and "sha256" in about for about in outputs.values()
    ):
        raise InputError(f"{stage / RUN_JSON} does not say what the stage wrote")
    return {"inputs": {}, **record}


def _problem(path: Path, about: Mapping[str, Any], stage: Path) -> list[str]:
    if not path.exists():
        return [f"{path} is missing"]
    try:
        if describe_output(path)["sha256"] == about["sha256"]:
            return []
        changed = changed_since(path, about, stage / RUN_JSON) or [path]
        return [f"{each} has changed" for each in changed]
    except MedDistillError as error:
        return [str(error)]


def _warn_of_other_inputs(stage: Path) -> None:
    inputs = _record(stage)["inputs"]
    for name in ("data", "teacher"):
        upstream = stage.parent / name
        if (
            name in inputs
            and (upstream / RUN_JSON).exists()
            and fingerprint_stage(upstream) != inputs[name]
        ):
            console.warn(f"{stage} was made from another {name} than {upstream} holds now")
