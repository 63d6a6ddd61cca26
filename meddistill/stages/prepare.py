"""`meddistill prepare`: a folder of images (and masks or boxes) becomes RUN/data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from meddistill.base import console
from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import InputError, MedDistillError, StageError
from meddistill.base.files import read_json, write_text
from meddistill.base.hashing import fingerprint_source, hash_files, write_index
from meddistill.data.intensity import settings_of_prepare
from meddistill.data.prepare.convert import (
    Converted,
    ConvertSettings,
    Journal,
    case_key,
    convert_all,
)
from meddistill.data.prepare.counts import describe, summarise, summarise_boxes
from meddistill.data.prepare.data_page import data_report
from meddistill.data.prepare.duplicates import Duplicate, near_duplicates
from meddistill.data.prepare.listing import Listed, first_reasons, list_source
from meddistill.data.prepare.partition import partition
from meddistill.data.raw_case import RawCase
from meddistill.run.headlines import headline
from meddistill.run.images import image_path
from meddistill.run.labels import label_path, write_yolo_label
from meddistill.run.layout import (
    CASES_CSV,
    CONVERTED_JSONL,
    DATA_YAML,
    DUPLICATES_CSV,
    REJECTED_CSV,
    REPORT_HTML,
    RUN_JSON,
    SOURCE_INDEX_CSV,
    STAGING,
    RunDir,
)
from meddistill.run.next_commands import after_prepare
from meddistill.run.record import Stage, as_begun, changed_settings, fingerprint_file
from meddistill.run.tables import SPLITS, Case, Rejected
from meddistill.run.true_masks import mask_path
from meddistill.settings import identity
from meddistill.settings.config import as_settings
from meddistill.settings.prepare import PrepareConfig


def run_prepare(
    run: RunDir,
    config: PrepareConfig,
    *,
    seed: int,
    overwrite: bool = False,
    out: Path | None = None,
    update: bool = False,
) -> Path:
    """Convert every image to an 8-bit PNG, find boxes, split by group, and write RUN/data. Returns
    that folder.

    With `update`, cases that an earlier run made are taken over with their split, and only new ones
    are read. Raises: ConfigError, InputError and StageError for what the user can mend; a first run
    leaves nothing behind then.
    """
    out = out or run.data
    config = as_begun(out, config, overwrite)
    if _kept_without_source(out, config, seed, overwrite):
        return out
    directory = Path(config.source)
    _check_apart(directory, out)
    listed = list_source(directory, config, seed)
    hashes = _hash_source(listed, directory, out)
    inputs = {"source": fingerprint_source(hashes, directory)}
    for name, path in (("groups", listed.groups_file), ("boxes", listed.boxes_file)):
        if path:
            inputs[name] = fingerprint_file(path)
    settings = identity.of_prepare(config, seed, listed.dataset)
    previous: list[Case] = []
    if update and not overwrite:
        previous = _check_update(out, settings)
    stage = Stage.open(out, "prepare", settings, inputs, overwrite, refresh=bool(previous))
    if stage.finished:
        console.say(f"{out} is finished with the same settings and source; nothing to do")
        return out
    if stage.resumed and (out / CASES_CSV).exists():
        previous = read_table(out / CASES_CSV, Case)  # of an update that was interrupted
    try:
        summary = _make(stage, listed, hashes, directory, config, seed, previous)
    except MedDistillError:
        if not previous:
            stage.abandon()
            if run.root.is_dir() and not any(run.root.iterdir()):
                run.root.rmdir()
        raise
    console.summary(
        "prepare",
        [*headline("prepare", summary), ("report", str(out / REPORT_HTML))],
        after_prepare(run, out),
    )
    return out


def _make(
    stage: Stage,
    listed: Listed,
    hashes: Mapping[Path, str],
    directory: Path,
    config: PrepareConfig,
    seed: int,
    previous: Sequence[Case],
) -> dict[str, Any]:
    out = stage.out
    write_index(out / SOURCE_INDEX_CSV, hashes, directory)
    converted = _convert_cases(listed.cases, hashes, out, config, previous)
    rejected = list(listed.rejected)
    good: list[tuple[RawCase, Converted]] = []
    for case, result in zip(listed.cases, converted, strict=True):
        if result.reason:
            rejected.append(Rejected(case.source, result.reason))
        elif not result.skipped:
            good.append((case, result))
    if not good:
        raise InputError(
            f"no case is left of {len(converted)} in {directory}: {first_reasons(rejected)}"
        )
    rows, results = partition(good, config, seed, {row.group: row.split for row in previous})
    duplicates = _find_duplicates(rows, results, config)
    _place(out, rows, results, previous)
    rejected.sort(key=lambda row: (row.source, row.reason))
    write_table(out / REJECTED_CSV, Rejected, rejected)
    write_table(out / DUPLICATES_CSV, Duplicate, duplicates)
    _write_data_yaml(out, rows)
    warnings = listed.warnings + _warnings(rows, duplicates)
    summary = {
        "dataset": listed.dataset,
        "groups_known": listed.groups_known,
        "warnings": warnings,
        "duplicates": len(duplicates),
        "boxes": summarise_boxes(
            [
                (results[row.case_id].boxes, row.height, row.width)
                for row in rows
                if row.annotation == "boxes"
            ]
        ),
        **summarise(
            rows,
            rejected,
            len(converted) - len(rows) - sum(bool(result.reason) for result in converted),
        ),
    }
    write_text(out / REPORT_HTML, data_report(out, rows, results, rejected, duplicates, summary))
    write_table(out / CASES_CSV, Case, rows)
    shutil.rmtree(out / STAGING)
    stage.finish(summary, [out / CASES_CSV, out / REJECTED_CSV, out / DATA_YAML])
    for warning in warnings:
        console.warn(warning)
    console.say(describe(summary))
    return summary


def _kept_without_source(out: Path, config: PrepareConfig, seed: int, overwrite: bool) -> bool:
    """Whether `out` is finished with these settings on a machine that does not have the source (a
    RUN can be moved)."""
    if not config.source:
        raise InputError("no source given; pass --source DIR, the folder of the images")
    if overwrite or Path(config.source).exists() or not (out / RUN_JSON).exists():
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


def _check_apart(directory: Path, out: Path) -> None:
    source, target = directory.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise InputError(
            f"{out} and the source {directory} lie in each other; choose a RUN outside the source"
        )


def _check_update(out: Path, settings: Mapping[str, Any]) -> list[Case]:
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
    return read_table(out / CASES_CSV, Case)


def _hash_source(listed: Listed, directory: Path, out: Path) -> dict[Path, str]:
    files = [path for case in listed.cases for path in case.files] + listed.source_tables
    console.say(f"looking at {len(set(files))} files of {directory}")
    return hash_files(files, directory, out / SOURCE_INDEX_CSV)


def _convert_cases(
    cases: Sequence[RawCase],
    hashes: Mapping[Path, str],
    out: Path,
    config: PrepareConfig,
    previous: Sequence[Case],
) -> list[Converted]:
    """Results in the order of the cases; what an interrupted or earlier run has done already is not
    done again."""
    intensity = settings_of_prepare(as_settings(config))
    settings = ConvertSettings(
        config.min_area_px, config.merge_distance_px, config.boxes_per, intensity
    )
    keys = [case_key(case, hashes, settings) for case in cases]
    staging = out / STAGING
    staging.mkdir(exist_ok=True)
    with (
        Journal(out / CONVERTED_JSONL) as journal,
        console.progress("reading images", len(cases)) as bar,
    ):
        _take_over(
            out, dict(zip([case.source for case in cases], keys, strict=True)), journal, previous
        )
        todo = []
        for key, case in zip(keys, cases, strict=True):
            known = journal.results.get(key)
            if known is None or not (
                known.reason or known.skipped or (staging / f"{key}.png").exists()
            ):
                todo.append((key, case))
        bar.resume(len(cases) - len(todo))
        by_key = dict(todo)
        for result in convert_all(todo, staging, settings, config.workers):
            journal.add(result)
            bar.advance()
            if result.reason and config.strict:
                raise InputError(f"--strict: {by_key[result.key].source}: {result.reason}")
    return [journal.results[key] for key in keys]


def _take_over(
    out: Path, key_by_source: Mapping[str, str], journal: Journal, previous: Sequence[Case]
) -> None:
    """Put what an earlier run made back into the staging folder, under the keys that the source has
    now."""
    for row in previous:
        key = key_by_source.get(row.source, "")
        result = journal.results.get(key)
        if result and result.sha256 == row.sha256 and image_path(out, row).exists():
            _link(image_path(out, row), out / STAGING / f"{key}.png")
            if row.has_mask:
                _link(mask_path(out, row), out / STAGING / f"{key}.mask.png")


def _find_duplicates(
    rows: Sequence[Case], results: Mapping[str, Converted], config: PrepareConfig
) -> list[Duplicate]:
    pairs = near_duplicates(
        [results[row.case_id].looks for row in rows],
        [row.split for row in rows],
        config.duplicate_bits,
    )
    duplicates = [
        Duplicate(rows[i].case_id, rows[i].split, rows[j].case_id, rows[j].split, bits)
        for i, j, bits in pairs
    ]
    if duplicates and config.strict:
        first = duplicates[0]
        raise InputError(
            f"--strict: {first.case_id} ({first.split}) and {first.other_id} ({first.other_split}) "
            "look the "
            f"same, as do {len(duplicates) - 1} more pairs across splits; give --groups, or take "
            "one of each pair out"
        )
    return duplicates


def _warnings(rows: Sequence[Case], duplicates: Sequence[Duplicate]) -> list[str]:
    warnings = []
    if duplicates:
        warnings.append(
            f"{len(duplicates)} pairs of images look the same across splits; see {DUPLICATES_CSV}"
        )
    if not any(row.annotation == "boxes" for row in rows if row.split == "train"):
        warnings.append(
            "no training case has a box: a detector cannot be trained, only taken as it is "
            "(--no-train)"
        )
    if not any(row.has_mask for row in rows):
        warnings.append(
            "no case has a mask: there will be nothing to evaluate against, only pictures"
        )
    return warnings


def _place(
    out: Path, rows: Sequence[Case], results: Mapping[str, Converted], previous: Sequence[Case]
) -> None:
    """Put images, masks and labels where cases.csv says.

    An unknown case gets no label file: to a detector an empty one means `no lesion`.
    """
    for split in SPLITS:
        for kind in ("images", "labels", "masks"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
    for row in previous:
        for path in (image_path(out, row), mask_path(out, row), label_path(out, row)):
            path.unlink(missing_ok=True)
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
    """data.yaml for Ultralytics, with lists that leave out the unknown cases: it would take them
    for negatives."""
    for split in SPLITS:
        lines = [
            f"./{row.image}\n" for row in rows if row.split == split and row.annotation != "unknown"
        ]
        write_text(out / f"{split}.txt", "".join(lines))
    lists = "".join(f"{split}: {split}.txt\n" for split in SPLITS)
    text = f"# Annotated cases only; the paths are relative to this file.\n{lists}names:\n  0: lesion\n"
    write_text(out / DATA_YAML, text)
