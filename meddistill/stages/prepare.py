"""`meddistill prepare`: a folder of images (and masks or boxes) becomes RUN/data."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from meddistill.base import console
from meddistill.base.csv_tables import read_table, write_table
from meddistill.base.errors import ConfigError, InputError, MedDistillError, StageError
from meddistill.base.files import read_json, write_text
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
from meddistill.data.prepare.listing import Listed, first_reasons
from meddistill.data.prepare.nonsense import Seen, check_before, check_names, doubts_about
from meddistill.data.prepare.partition import partition
from meddistill.data.prepare.placing import place_files, write_lists
from meddistill.data.prepare.regrid import choose_grid, onto_grid, refuse_without_spacing
from meddistill.data.prepare.relabel import Drawn, relabel, with_drawn
from meddistill.data.prepare.several_sources import list_sources, source_folder
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.finest_plane import finest_axis
from meddistill.data.sources.volume_cases import AXES
from meddistill.labelling.takeover import drawn_boxes, fingerprint_labels
from meddistill.run import lock
from meddistill.run.findings import read_findings
from meddistill.run.grid_file import read_grid, write_grid
from meddistill.run.headlines import headline
from meddistill.run.layout import (
    CASES_CSV,
    DATA_YAML,
    DUPLICATES_CSV,
    PATIENTS_KEY,
    REJECTED_CSV,
    REPORT_HTML,
    RUN_JSON,
    SOURCE_INDEX_CSV,
    STAGING,
    UNFINISHED_JSON,
    RunDir,
)
from meddistill.run.next_commands import after_prepare, command
from meddistill.run.record import Stage, as_begun, changed_settings, fingerprint_file, renew
from meddistill.run.tables import Case, Rejected, read_cases
from meddistill.settings import identity
from meddistill.settings.axes import AUTO, AXIAL
from meddistill.settings.config import as_settings
from meddistill.settings.prepare import PrepareConfig

_DRAWN_ON_A_GRID = (
    "{labels} holds boxes that were drawn in the browser, in pixels that prepare.spacing_mm would "
    "change; leave it empty in this RUN"
)


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
    """
    out = out or run.data
    config = _with_source(config)
    drawn = drawn_boxes(run.labels)
    if drawn and config.spacing_mm:
        raise ConfigError(_DRAWN_ON_A_GRID.format(labels=run.labels))
    if update and not config.source and not overwrite:
        return _take_over(run, out, drawn)
    config = _with_axis(out, as_begun(out, config, overwrite), overwrite)
    if _kept_without_source(out, config, seed, overwrite):
        return out
    directory = source_folder(config)
    _check_apart(config, out)
    listed = _list(run, out, config, seed, drawn)
    hashes = _hash_source(listed, directory, out)
    settings = identity.of_prepare(config, seed, listed.dataset)
    previous = _check_update(out, settings, listed) if update and not overwrite else []
    inputs = _inputs(listed, hashes, directory) | _labels_input(drawn, listed.findings)
    if not overwrite and not update:
        _check_labels(run, out, inputs)
    stage = Stage.open(out, "prepare", settings, inputs, overwrite, refresh=bool(previous))
    if stage.finished:
        console.say(f"{out} is finished with the same settings and source; nothing to do")
        return out
    if stage.resumed and (out / CASES_CSV).exists():
        previous = read_table(out / CASES_CSV, Case)  # of an update that was interrupted
    try:
        prepared = _convert(listed, hashes, out, config, seed, previous)
        summary = _write_tables(stage, listed, prepared)
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
    _tell_of_other_findings(run, drawn, listed.findings)
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
    sorted_out = _sort_out(listed, converted, directory, config)
    old_splits = {row.group: row.split for row in previous}
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


def _take_over(run: RunDir, out: Path, drawn: Drawn) -> Path:
    """`--update` without a source: what people drew goes into RUN/data, all else stays."""
    rows = read_cases(out)
    if drawn and read_grid(out) is not None:
        raise ConfigError(_DRAWN_ON_A_GRID.format(labels=run.labels))
    findings = read_findings(out)
    _tell_of_other_findings(run, drawn, findings)
    strangers = drawn.keys() - {row.source for row in rows}
    if strangers:
        console.warn(f"{run.labels} names {len(strangers)} images that {out} does not have")
    record = read_json(out / RUN_JSON)
    inputs = _labels_input(drawn, findings)
    if not drawn:
        raise InputError(
            f"no source given, and {run.labels} holds no box; pass --source DIR, or draw some with "
            f"`{command('label', run)}`"
        )
    if inputs.items() <= record["inputs"].items():
        console.say(f"{out} has all that is in {run.labels}; nothing to do")
        return out
    lock.acquire(out)
    try:
        summary = relabel(out, rows, drawn, record["results"])
        renew(out, inputs, summary, _outputs(out))
    finally:
        lock.release(out)
    console.say(describe(summary))
    console.summary(
        "prepare", headline("prepare", summary), after_prepare(run, out, read_cases(out))
    )
    return out


def _tell_of_other_findings(run: RunDir, drawn: Drawn, findings: Findings) -> None:
    """Warn of boxes whose finding is none of several of the RUN: they are left out."""
    if findings.is_one:
        return
    names = [name for image in drawn.values() for name in image.names]
    others = [name for name in names if name not in findings.names]
    if others:
        console.warn(
            f"{run.labels} holds {len(others)} boxes of findings that this RUN does not have, which "
            f"are left out: {', '.join(dict.fromkeys(others))}"
        )


def _labels_input(drawn: Drawn, findings: Findings) -> dict[str, str]:
    return {"labels": fingerprint_labels(drawn, findings)} if drawn else {}


def _check_labels(run: RunDir, out: Path, inputs: Mapping[str, str]) -> None:
    """Raise StageError where people drew boxes since `out` was finished, before the stage complains
    of an input."""
    if not (out / RUN_JSON).exists():
        return
    before = read_json(out / RUN_JSON).get("inputs", {}).get("labels")
    if before != inputs.get("labels"):
        raise StageError(
            f"boxes were drawn since {out} was finished; `{command('prepare', run)} --update` takes "
            "them over"
        )


def _outputs(out: Path) -> list[Path]:
    return [out / CASES_CSV, out / REJECTED_CSV, out / DATA_YAML]


def _leave_nothing(stage: Stage, run: RunDir) -> None:
    stage.abandon()
    if run.root.is_dir() and not any(run.root.iterdir()):
        run.root.rmdir()


@dataclasses.dataclass(frozen=True)
class _SortedOut:
    """The cases that became images; what was rejected, by listing or reading; how many cases became
    none without being rejected; and what can hardly be meant."""

    good: list[tuple[RawCase, Converted]]
    rejected: list[Rejected]
    skipped: int
    doubts: list[str]


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """What tables and report are written from; `results` by case id. `grid`: of all images, if any."""

    rows: list[Case]
    results: dict[str, Converted]
    duplicates: list[Duplicate]
    sorted_out: _SortedOut
    grid: Grid | None = None


def _sort_out(
    listed: Listed, converted: Sequence[Converted], directory: Path, config: PrepareConfig
) -> _SortedOut:
    """Raises: InputError where no case is left, or what there is can hardly be meant."""
    pairs = list(zip(listed.cases, converted, strict=True))
    doubts = doubts_about(Seen(pairs, listed.rejected, listed.annotated), config.accept)
    rejected = list(listed.rejected)
    good: list[tuple[RawCase, Converted]] = []
    for case, result in pairs:
        if result.reason:
            rejected.append(Rejected(case.source, result.reason))
        elif not result.skipped:
            good.append((case, result))
    if not good:
        raise InputError(
            f"no case is left of {len(converted)} in {directory}: {first_reasons(rejected)}"
        )
    skipped = sum(not result.reason and result.skipped for result in converted)
    rejected.sort(key=lambda row: (row.source, row.reason))
    return _SortedOut(good, rejected, skipped, doubts)


def _write_tables(stage: Stage, listed: Listed, prepared: _Prepared) -> dict[str, Any]:
    """Write the tables, the report and run.json; returns what run.json says."""
    out, rows, results = stage.out, prepared.rows, prepared.results
    duplicates, rejected = prepared.duplicates, prepared.sorted_out.rejected
    write_table(out / REJECTED_CSV, Rejected, rejected)
    write_table(out / DUPLICATES_CSV, Duplicate, duplicates)
    write_lists(out, rows, listed.findings)
    warnings = listed.warnings + prepared.sorted_out.doubts + warnings_about(rows, duplicates)
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
    stage.finish(summary, _outputs(out))
    for warning in warnings:
        console.warn(warning)
    console.say(describe(summary))
    return summary


def _with_source(config: PrepareConfig) -> PrepareConfig:
    """A table of cases without a source speaks of what lies below its own folder."""
    if config.table and not config.source:
        return dataclasses.replace(config, source=str(Path(config.table).parent))
    return config


def _with_axis(out: Path, config: PrepareConfig, overwrite: bool) -> PrepareConfig:
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


def _kept_without_source(out: Path, config: PrepareConfig, seed: int, overwrite: bool) -> bool:
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


def _check_apart(config: PrepareConfig, out: Path) -> None:
    for name in config.folders:
        source, target = Path(name).resolve(), out.resolve()
        if source == target or source in target.parents or target in source.parents:
            raise InputError(
                f"{out} and the source {name} lie in each other; choose a RUN outside the source"
            )


def _check_update(out: Path, settings: Mapping[str, Any], listed: Listed) -> list[Case]:
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
