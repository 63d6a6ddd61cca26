"""`meddistill prepare`: a folder of images (and masks or boxes) becomes RUN/data."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill import console
from meddistill.artifacts import (
    CASES_CSV,
    CONVERTED_JSONL,
    DATA_YAML,
    REJECTED_CSV,
    RUN_JSON,
    SOURCE_INDEX_CSV,
    SPLITS,
    STAGING,
    Case,
    Rejected,
    RunDir,
    image_path,
    label_path,
    mask_path,
    read_json,
    write_table,
    write_text,
    write_yolo_label,
)  # fmt: skip
from meddistill.config import PrepareConfig, as_settings
from meddistill.data.case_ids import assign_case_ids
from meddistill.data.convert import Converted, ConvertSettings, Journal, case_key, convert_all
from meddistill.data.fingerprint import fingerprint_source, hash_files, write_index
from meddistill.data.groups import GROUPS_CSV, Selection, apply_groups, read_groups
from meddistill.data.sources import choose_source
from meddistill.data.sources.base import RawCase, SourceOptions
from meddistill.data.splits import keep_boxes, split_by_groups, take_cases
from meddistill.data.summary import describe, summarise
from meddistill.errors import InputError, MedDistillError, StageError, nearest
from meddistill.provenance import Stage, fingerprint_file

# Settings that do not change the result, and paths whose content counts instead of their name.
_NOT_IDENTITY = ("source", "groups", "boxes", "strict", "workers")


@dataclasses.dataclass(frozen=True)
class _Listed:
    """The source as listed: the cases to convert, what was passed over, and what to say and record about it."""

    cases: list[RawCase]
    rejected: list[Rejected]
    dataset: str
    groups_known: bool
    warnings: list[str]


def run_prepare(
    run: RunDir, config: PrepareConfig, *, seed: int, overwrite: bool = False, out: Path | None = None
) -> Path:
    """Convert every image to an 8-bit PNG, find boxes, split by group, and write RUN/data. Returns that folder.

    Raises: ConfigError, InputError and StageError for what the user can mend; nothing is left behind then.
    """
    out = out or run.data
    if _kept_without_source(out, config, seed, overwrite):
        return out
    directory = Path(config.source)
    _check_apart(directory, out)
    listed = _list_cases(directory, config)
    hashes = hash_files([path for case in listed.cases for path in case.files], directory, out / SOURCE_INDEX_CSV)
    inputs = {"source": fingerprint_source(hashes, directory)}
    if groups_file := _groups_file(directory, config):
        inputs["groups"] = fingerprint_file(groups_file)
    stage = Stage.open(out, "prepare", _identity(config, seed, listed.dataset), inputs, overwrite)
    if stage.finished:
        console.say(f"{out} is finished with the same settings and source; nothing to do")
        return out
    try:
        _make(stage, listed, hashes, directory, config, seed)
    except MedDistillError:
        shutil.rmtree(out)
        if run.root.is_dir() and not any(run.root.iterdir()):
            run.root.rmdir()
        raise
    return out


def _make(
    stage: Stage, listed: _Listed, hashes: Mapping[Path, str], directory: Path, config: PrepareConfig, seed: int
) -> None:
    out = stage.out
    write_index(out / SOURCE_INDEX_CSV, hashes, directory)
    converted = _convert_cases(listed.cases, hashes, out, config)
    rejected = list(listed.rejected)
    good: list[tuple[RawCase, Converted]] = []
    for case, result in zip(listed.cases, converted, strict=True):
        if result.reason:
            rejected.append(Rejected(case.source, result.reason))
        else:
            good.append((case, result))
    if not good:
        raise InputError(f"no case is left of {len(converted)} in {directory}: {_first_reasons(rejected)}")
    rows, results = _split(good, config, seed)
    _place(out, rows, results)
    rejected.sort(key=lambda row: (row.source, row.reason))
    write_table(out / REJECTED_CSV, Rejected, rejected)
    write_table(out / CASES_CSV, Case, rows)
    _write_data_yaml(out, rows)
    shutil.rmtree(out / STAGING)
    summary = summarise(rows, rejected, len(good) - len(rows))
    stage.finish(
        {"dataset": listed.dataset, "groups_known": listed.groups_known, "warnings": listed.warnings, **summary},
        [out / CASES_CSV, out / REJECTED_CSV, out / DATA_YAML],
    )
    for warning in listed.warnings:
        console.warn(warning)
    console.say(describe(summary))
    console.say(f"prepared {len(rows)} cases in {out}; next: meddistill detect {out.parent}")


def _kept_without_source(out: Path, config: PrepareConfig, seed: int, overwrite: bool) -> bool:
    """Whether `out` is finished with these settings on a machine that does not have the source (a RUN can be moved)."""
    if not config.source:
        raise InputError("no source given; pass --source DIR, the folder of the images")
    if overwrite or Path(config.source).exists() or not (out / RUN_JSON).exists():
        return False
    settings = read_json(out / RUN_JSON).get("settings", {})
    dataset = settings.get("dataset") if config.dataset == "auto" else config.dataset
    if settings != _identity(config, seed, dataset):
        raise StageError(f"{out} is finished with other settings, and the source {config.source} is not here")
    console.say(f"{out} is finished with the same settings; the source is not on this machine, so it was not compared")
    return True


def _identity(config: PrepareConfig, seed: int, dataset: str) -> dict[str, Any]:
    settings = {key: value for key, value in as_settings(config).items() if key not in _NOT_IDENTITY}
    return {**settings, "dataset": dataset, "seed": seed}


def _check_apart(directory: Path, out: Path) -> None:
    source, target = directory.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise InputError(f"{out} and the source {directory} lie in each other; choose a RUN outside the source")


def _groups_file(directory: Path, config: PrepareConfig) -> Path | None:
    if config.groups:
        return Path(config.groups)
    beside = directory / GROUPS_CSV
    return beside if beside.is_file() else None


def _list_cases(directory: Path, config: PrepareConfig) -> _Listed:
    source, reason = choose_source(config.dataset, directory)
    if config.dataset == "auto":
        console.say(f"{directory} is read as '{source.name}': {reason}")
    listing = source.list_cases(directory, SourceOptions())
    for note in listing.notes:
        console.say(note)
    cases, rejected, warnings = list(listing.cases), list(listing.rejected), []
    if config.strict and rejected:
        raise InputError(f"--strict: {rejected[0].source}: {rejected[0].reason} ({len(rejected)} rejected)")
    if groups_file := _groups_file(directory, config):
        cases, strangers = apply_groups(cases, read_groups(groups_file))
        rejected += strangers
        console.say(f"groups are read from {groups_file}")
        if not cases and strangers:
            raise InputError(f"no case of {directory} has a row in {groups_file}: {_first_reasons(strangers)}")
    cases = _of_classes(cases, config.classes)
    if not cases:
        raise InputError(f"{directory} holds no image in the layout '{source.name}'{_because(rejected)}")
    groups_known = all(case.group for case in cases)
    if not groups_known:
        warnings.append(
            "groups (patients) are unknown, so images of one patient may lie in train and test: "
            "the numbers may be optimistic; give --groups groups.csv"
        )
    return _Listed(cases, rejected, source.name, groups_known, warnings)


def _of_classes(cases: list[RawCase], classes: Sequence[str]) -> list[RawCase]:
    known = sorted({case.class_name for case in cases if case.class_name})
    for name in classes:
        if name not in known:
            raise InputError(f"class '{name}' is not in the source{nearest(name, known or ['(no classes)'])}")
    return [case for case in cases if case.class_name in classes] if classes else cases


def _convert_cases(
    cases: Sequence[RawCase], hashes: Mapping[Path, str], out: Path, config: PrepareConfig
) -> list[Converted]:
    """Results in the order of the cases; what an interrupted run has done already is not done again."""
    settings = ConvertSettings(config.min_area_px)
    keys = [case_key(case, hashes, settings) for case in cases]
    staging = out / STAGING
    with Journal(out / CONVERTED_JSONL) as journal, console.progress("reading images", len(cases)) as bar:
        todo = []
        for key, case in zip(keys, cases, strict=True):
            known = journal.results.get(key)
            if known is None or not (known.reason or (staging / f"{key}.png").exists()):
                todo.append((key, case))
        bar.advance(len(cases) - len(todo))
        by_key = dict(todo)
        for result in convert_all(todo, staging, settings, config.workers):
            journal.add(result)
            bar.advance()
            if result.reason and config.strict:
                raise InputError(f"--strict: {by_key[result.key].source}: {result.reason}")
    staging.mkdir(exist_ok=True)
    return [journal.results[key] for key in keys]


def _split(
    good: Sequence[tuple[RawCase, Converted]], config: PrepareConfig, seed: int
) -> tuple[list[Case], dict[str, Converted]]:
    """Rows of cases.csv, sorted by split and id, and the conversion of each by case id."""
    cases = [case for case, _ in good]
    ids = assign_case_ids(cases)
    groups = [case.group or case_id for case, case_id in zip(cases, ids, strict=True)]
    splits = split_by_groups(
        groups,
        [case.class_name for case in cases],
        test=_chosen(cases, config.test),
        val=_chosen(cases, config.val),
        test_fraction=config.test_fraction,
        val_fraction=config.val_fraction,
        seed=seed,
    )
    most = {"train": config.max_train_cases, "val": config.max_val_cases, "test": config.max_test_cases}
    kept: list[int] = []
    for split in SPLITS:
        members = [index for index, name in enumerate(splits) if name == split]
        stays = take_cases([groups[index] for index in members], most[split], seed, f"subset of {split}")
        kept += [index for index, stay in zip(members, stays, strict=True) if stay]
    annotated = keep_boxes(
        [groups[i] for i in kept if splits[i] == "train" and good[i][1].annotation != "unknown"],
        config.box_fraction,
        seed,
    )
    rows, results = [], {}
    for index in kept:
        case, result = good[index]
        hidden = splits[index] == "train" and groups[index] not in annotated
        rows.append(_row(case, result, ids[index], groups[index], splits[index], hidden))
        results[ids[index]] = result
    rows.sort(key=lambda row: (SPLITS.index(row.split), row.case_id))
    if not any(row.split == "train" for row in rows):
        raise InputError(f"no case is left for training of {len(rows)}; change --test, --val or the fractions")
    return rows, results


def _chosen(cases: Sequence[RawCase], selection: str) -> list[bool] | None:
    if not selection:
        return None
    wanted = Selection.parse(selection)
    return [wanted.chooses(case) for case in cases]


def _row(case: RawCase, result: Converted, case_id: str, group: str, split: str, hidden: bool) -> Case:
    return Case(
        case_id=case_id,
        split=split,
        group=group,
        class_name=case.class_name,
        annotation="unknown" if hidden else result.annotation,
        has_mask=result.has_mask,
        image=f"images/{split}/{case_id}.png",
        width=result.width,
        height=result.height,
        n_boxes=0 if hidden else len(result.boxes),
        spacing_mm=result.spacing_mm,
        source=case.source,
        sha256=result.sha256,
    )


def _place(out: Path, rows: Sequence[Case], results: Mapping[str, Converted]) -> None:
    """Put images, masks and labels where cases.csv says.

    An unknown case gets no label file: to a detector an empty one means `no lesion`.
    """
    for split in SPLITS:
        for kind in ("images", "labels", "masks"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
    for row in rows:
        result = results[row.case_id]
        _link(out / STAGING / f"{result.key}.png", image_path(out, row))
        if row.has_mask:
            _link(out / STAGING / f"{result.key}.mask.png", mask_path(out, row))
        if row.annotation != "unknown":
            boxes = np.array(result.boxes if row.n_boxes else [], dtype=np.float32)
            write_yolo_label(label_path(out, row), boxes, (row.height, row.width))


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _write_data_yaml(out: Path, rows: Sequence[Case]) -> None:
    """data.yaml for Ultralytics, with lists that leave out the unknown cases: it would take them for negatives."""
    for split in SPLITS:
        lines = [f"./{row.image}\n" for row in rows if row.split == split and row.annotation != "unknown"]
        write_text(out / f"{split}.txt", "".join(lines))
    lists = "".join(f"{split}: {split}.txt\n" for split in SPLITS)
    write_text(
        out / DATA_YAML, f"# Annotated cases only; the paths are relative to this file.\n{lists}names:\n  0: lesion\n"
    )


def _because(rejected: Sequence[Rejected]) -> str:
    return f": {_first_reasons(rejected)}" if rejected else ""


def _first_reasons(rejected: Sequence[Rejected]) -> str:
    shown = "; ".join(f"{row.source}: {row.reason}" for row in rejected[:2])
    return shown + (f"; and {len(rejected) - 2} more" if len(rejected) > 2 else "")
