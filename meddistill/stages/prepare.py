"""`meddistill prepare`: a folder of images (and masks or boxes) becomes RUN/data."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import InputError, MedDistillError
from meddistill.base.files import write_text
from meddistill.base.hashing import fingerprint_source, hash_files, write_index
from meddistill.data.findings import Findings
from meddistill.data.grid import Grid
from meddistill.data.intensity import settings_of_prepare
from meddistill.data.prepare.convert import Converted, ConvertSettings
from meddistill.data.prepare.counts import describe, summarise, summarise_boxes, warnings_about
from meddistill.data.prepare.data_page import data_report
from meddistill.data.prepare.duplicates import Duplicate, find_duplicates, refuse_duplicates
from meddistill.data.prepare.finding_counts import (
    refuse_strange_values,
    refuse_unboxed_findings,
    summarise_findings,
    warnings_about_findings,
)
from meddistill.data.prepare.journal import Conversion, convert_cases
from meddistill.data.prepare.listing import Listed
from meddistill.data.prepare.nonsense import check_before, check_names
from meddistill.data.prepare.partition import partition
from meddistill.data.prepare.placing import place_files, write_lists
from meddistill.data.prepare.regrid import choose_grid, onto_grid, refuse_without_spacing
from meddistill.data.prepare.relabel import Drawn, with_drawn
from meddistill.data.prepare.settling import (
    check_apart,
    check_update,
    kept_without_source,
    with_axis,
    with_source,
)
from meddistill.data.prepare.several_sources import list_sources, source_folder
from meddistill.data.prepare.sorting_out import SortedOut, sort_out
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.finest_plane import finest_axis
from meddistill.labelling.into_data import (
    check_labels,
    drawn_on_a_grid,
    labels_input,
    prepare_outputs,
    take_over,
    tell_of_other_findings,
)
from meddistill.labelling.takeover import drawn_boxes
from meddistill.run.fingerprints import fingerprint_file
from meddistill.run.grid_file import read_grid, write_grid
from meddistill.run.headlines import headline
from meddistill.run.layout import (
    CASES_CSV,
    DUPLICATES_CSV,
    PATIENTS_KEY,
    REJECTED_CSV,
    REPORT_HTML,
    SOURCE_INDEX_CSV,
    STAGING,
    RunDir,
)
from meddistill.run.next_commands import after_prepare
from meddistill.run.record import Stage, as_begun
from meddistill.run.tables import Case, Rejected
from meddistill.settings import identity
from meddistill.settings.axes import AUTO
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
    to_label: bool = False,
) -> Path:
    """Convert every image to an 8-bit PNG, find boxes, split by group; returns RUN/data, written.

    Raises: ConfigError, InputError and StageError for what the user can mend; a first run leaves
    nothing behind then.

    Args:
        run: the RUN.
        config: settings.
        seed: draws splits and subsets.
        overwrite: start anew where other settings or another source left something.
        out: the folder to write, where not RUN/data.
        update: take over the cases of an earlier run with their split, and read only new ones;
            without a source, take over the boxes of RUN/labels alone.
        to_label: boxes are drawn next: that there are none yet is no warning.
    """
    out = out or run.data
    config = with_source(config)
    drawn = drawn_boxes(run.labels)
    if drawn and config.spacing_mm:
        raise drawn_on_a_grid(run)
    if update and not config.source and not overwrite:
        return take_over(run, out, drawn)
    config = with_axis(out, as_begun(out, config, overwrite), overwrite)
    if kept_without_source(out, config, seed, overwrite):
        return out
    directory = source_folder(config)
    check_apart(config, out)
    listed = _list(run, out, config, seed, drawn)
    hashes = _hash_source(listed, directory, out)
    settings = identity.of_prepare(config, seed, listed.dataset)
    previous = check_update(out, settings, listed) if update and not overwrite else []
    inputs = _inputs(listed, hashes, directory) | labels_input(drawn, listed.findings)
    if not overwrite and not update:
        check_labels(run, out, inputs)
    stage = Stage.open(out, "prepare", settings, inputs, overwrite, refresh=bool(previous))
    if stage.finished:
        console.say(f"{out} is finished with the same settings and source; nothing to do")
        return out
    if stage.resumed and (out / CASES_CSV).exists():
        previous = read_table(out / CASES_CSV, Case)  # of an update that was interrupted
    try:
        prepared = _convert(listed, hashes, out, config, seed, previous)
        summary = _write_tables(stage, listed, prepared, to_label)
    except MedDistillError:
        if not previous:
            _leave_nothing(stage, run)
        raise
    facts = [*headline("prepare", summary), ("report", str(out / REPORT_HTML))]
    console.summary("prepare", facts, after_prepare(run, out, prepared.rows))
    return out


def _list(
    run: RunDir,
    out: Path,
    config: PrepareConfig,
    seed: int,
    drawn: Drawn,
) -> Listed:
    """The cases of the source, with the boxes that people drew of them. Raises: InputError where it
    can hardly be meant.

    Args:
        run: the RUN.
        out: the folder that is written.
        config: settings.
        seed: draws subsets.
        drawn: what people drew, by the image's path in the source.
    """
    listed = list_sources(config, seed, _patient_key(out))
    console.summary("understood", listed.understood)
    check_names(config.accept)
    check_before(listed.cases, listed.rejected, config.accept)
    if not drawn:
        return listed
    tell_of_other_findings(run, drawn, listed.findings)
    cases = with_drawn(listed.cases, drawn, listed.findings)
    return dataclasses.replace(listed, cases=cases, annotated=True)


def _convert(
    listed: Listed,
    hashes: Mapping[Path, str],
    out: Path,
    config: PrepareConfig,
    seed: int,
    previous: Sequence[Case],
) -> _Prepared:
    """Read every case, settle its split, and put its files where they belong. Raises: InputError
    where what was read cannot be used.

    Args:
        listed: the source.
        hashes: of its files.
        out: the folder that is written.
        config: settings.
        seed: draws splits.
        previous: the cases of an earlier run, which keep their split.
    """
    if listed.patient_key:
        write_text(out / PATIENTS_KEY, listed.patient_key)
    directory = source_folder(config)
    write_index(out / SOURCE_INDEX_CSV, hashes, directory)
    conversion = _conversion(config, listed.findings)
    converted = convert_cases(listed.cases, hashes, out, conversion, previous)
    if config.spacing_mm:
        converted = refuse_without_spacing(listed.cases, converted, config.strict)
    refuse_strange_values(listed.cases, converted)
    sorted_out = sort_out(listed, converted, directory, config.accept)
    old_splits = _splits_before(previous, sorted_out.good)
    rows, results = partition(sorted_out.good, config, seed, old_splits, listed.findings)
    refuse_unboxed_findings(rows, results, listed.findings)
    grid = None
    if config.spacing_mm:
        # What an update finds stays as it is, whatever is new.
        grid = (read_grid(out) if previous else None) or choose_grid(rows, config.spacing_mm)
        rows, results = onto_grid(out, rows, results, listed.findings, grid)
        write_grid(out, grid)
    looks = [results[row.case_id].looks for row in rows]
    duplicates = find_duplicates(rows, looks, config.duplicate_bits)
    if config.strict:
        refuse_duplicates(duplicates)
    place_files(out, rows, results, previous)
    return _Prepared(rows, results, duplicates, sorted_out, grid)


def _splits_before(
    previous: Sequence[Case], good: Sequence[tuple[RawCase, Converted]]
) -> dict[str, str]:
    """The split of each group in an earlier run; of one that is called otherwise now, as its cases
    were grouped otherwise then, that of its first case."""
    found = {row.group: row.split for row in previous}
    of_source = {row.source: row.split for row in previous}
    for case, _ in good:
        if case.group and case.source in of_source:
            found.setdefault(case.group, of_source[case.source])
    return found


def _patient_key(out: Path) -> str:
    """What patients were hashed with in an earlier run; '' for none."""
    path = out / PATIENTS_KEY
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def show_understanding(config: PrepareConfig, seed: int) -> None:
    """Print what the source is understood to be, and do nothing else.

    Raises: ConfigError and InputError for what the user can mend.
    """
    if not config.source:
        raise InputError("no source given; pass --source DIR, the folder of the images")
    if config.axis == AUTO:
        config = dataclasses.replace(config, axis=finest_axis(Path(config.source)))
    listed = list_sources(config, seed)
    console.answer_table(("what", "as understood"), listed.understood)
    for warning in listed.warnings:
        console.warn(warning)


def _leave_nothing(stage: Stage, run: RunDir) -> None:
    stage.abandon()
    if run.root.is_dir() and not any(run.root.iterdir()):
        run.root.rmdir()


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What tables and report are written from; `results` by case id. `grid`: of all images, if any."""

    rows: list[Case]
    results: dict[str, Converted]
    duplicates: list[Duplicate]
    sorted_out: SortedOut
    grid: Grid | None = None


def _write_tables(
    stage: Stage, listed: Listed, prepared: _Prepared, to_label: bool
) -> dict[str, Any]:
    """Write the tables, the report and run.json; returns what run.json says."""
    out, rows, results = stage.out, prepared.rows, prepared.results
    duplicates, rejected = prepared.duplicates, prepared.sorted_out.rejected
    write_table(out / REJECTED_CSV, Rejected, rejected)
    write_table(out / DUPLICATES_CSV, Duplicate, duplicates)
    write_lists(out, rows, listed.findings)
    warnings = listed.warnings + prepared.sorted_out.doubts
    warnings += warnings_about(rows, duplicates, to_label)
    warnings += warnings_about_findings(rows, results, listed.findings)
    left_out = prepared.sorted_out.skipped + len(prepared.sorted_out.good) - len(rows)
    summary = {
        "dataset": listed.dataset,
        "groups_known": listed.groups_known,
        "understood": [list(fact) for fact in listed.understood],
        "warnings": warnings,
        "duplicates": len(duplicates),
        "boxes": summarise_boxes(rows, results),
        **summarise(rows, rejected, left_out),
        **summarise_findings(rows, results, listed.findings),
    }
    if prepared.grid is not None:
        summary["grid"] = dataclasses.asdict(prepared.grid)
    write_text(out / REPORT_HTML, data_report(out, rows, results, rejected, duplicates, summary))
    write_table(out / CASES_CSV, Case, rows)
    shutil.rmtree(out / STAGING)
    stage.finish(summary, prepare_outputs(out))
    for warning in warnings:
        console.warn(warning)
    console.say(describe(summary))
    return summary


def _hash_source(listed: Listed, directory: Path, out: Path) -> dict[Path, str]:
    files = [path for case in listed.cases for path in case.files] + listed.source_tables
    console.say(f"looking at {len(set(files))} files of {directory}")
    return hash_files(files, directory, out / SOURCE_INDEX_CSV)


def _inputs(listed: Listed, hashes: Mapping[Path, str], directory: Path) -> dict[str, str]:
    inputs = {"source": fingerprint_source(hashes, directory)}
    for name, path in (
        ("groups", listed.groups_file),
        ("boxes", listed.boxes_file),
        ("table", listed.table_file),
    ):
        if path:
            inputs[name] = fingerprint_file(path)
    return inputs


def _conversion(config: PrepareConfig, findings: Findings) -> Conversion:
    intensity = settings_of_prepare(as_settings(config))
    settings = ConvertSettings(
        config.min_area_px,
        config.merge_distance_px,
        config.boxes_per,
        findings,
        config.complete,
        intensity,
        config.fit_masks,
    )
    return Conversion(settings, config.workers, config.strict)
