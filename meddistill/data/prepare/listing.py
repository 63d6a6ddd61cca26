"""A source as `prepare` sees it: its cases with groups, classes and boxes as the user's settings
and tables say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.base.paths import printable
from meddistill.data.findings import LESION, Findings
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.known_annotation_formats import format_of
from meddistill.data.masks import parse_labels
from meddistill.data.prepare.box_names import classes_asked, with_box_names
from meddistill.data.prepare.case_classes import with_case_classes
from meddistill.data.prepare.counts import first_reasons
from meddistill.data.prepare.grouping import GROUPS_UNKNOWN, groups_file_of, with_groups
from meddistill.data.prepare.label_tables import label_table
from meddistill.data.prepare.mask_values import values_of
from meddistill.data.prepare.naming import (
    AUTO,
    Naming,
    name_findings,
    name_segments,
    name_values,
)
from meddistill.data.prepare.split_lists import with_split_lists
from meddistill.data.prepare.stacks import stacked
from meddistill.data.prepare.understanding import Fact, Read, understand
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.case_table import TABLE, list_table
from meddistill.data.sources.drawn_boxes import CaseNames, apply_boxes, without_image
from meddistill.data.sources.fitted_boxes import parse_fit
from meddistill.data.sources.known_sources import choose_source
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import Tree, listed_once
from meddistill.run.tables import Rejected
from meddistill.settings.prepare import PrepareConfig


@dataclasses.dataclass(frozen=True)
class Listed:
    """The source as listed: the cases to convert, what was passed over, and the tables that were
    read for it.

    `annotated`: it has masks, or files of boxes. `understood`: label and text a line, for a person.
    """

    cases: list[RawCase]
    rejected: list[Rejected]
    dataset: str
    groups_known: bool
    warnings: list[str]
    source_tables: list[Path]
    groups_file: Path | None
    boxes_file: Path | None
    annotated: bool
    understood: list[Fact]
    findings: Findings = LESION
    table_file: Path | None = None
    patient_key: str = ""


def list_source(directory: Path, config: PrepareConfig, seed: int, patient_key: str = "") -> Listed:
    """List the source, the disk once; patients are hashed with the key of an earlier run, if any.

    Reads no pixels but a few where names say nothing. Raises: InputError and ConfigError for what the
    user can mend.

    Args:
        directory: the source.
        config: settings.
        seed: draws subsets.
        patient_key: of an earlier run.
    """
    with listed_once(directory) as tree:
        return _list_source(directory, config, seed, tree, patient_key)


def _list_source(
    directory: Path, config: PrepareConfig, seed: int, tree: Tree, patient_key: str
) -> Listed:
    if config.whole_volumes and config.empty_slices != PrepareConfig().empty_slices:
        raise ConfigError(
            "prepare.empty_slices thins nothing where whole volumes are kept: set "
            "distill.empty_slices and detect.empty_slices, or prepare.whole_volumes=false"
        )
    dataset, reason, listing, naming = _named(directory, config, seed, patient_key)
    boxes_file = Path(config.boxes) if config.boxes else None
    groups_file = groups_file_of(directory, config)
    cases, strangers = with_groups(listing.cases, groups_file, config.group_from, directory)
    cases, split_lists = with_split_lists(cases, directory, config)
    if config.whole_volumes:
        cases, unplaced = stacked(cases)
        strangers += unplaced
    rejected = [
        Rejected(row.source, printable(row.reason)) for row in [*listing.rejected, *strangers]
    ]
    if config.strict and rejected:
        raise InputError(
            f"--strict: {rejected[0].source}: {rejected[0].reason} ({len(rejected)} rejected)"
        )
    cases = [_plain(case) for case in cases]
    cases = _of_classes(cases, config.classes, listing.box_classes)
    may_overlap = config.overlap == "auto" and listing.may_overlap
    overlap = "overlapping" if may_overlap else config.overlap
    of_segments = bool(listing.segments) and naming.values is None and listing.box_classes is None
    if overlap == "auto" and of_segments:
        overlap = "exclusive"  # they are of one label map in each file
    findings = naming.findings(cases, listing.box_classes, overlap)
    cases = with_box_names(cases, findings, listing.box_classes or (), config.classes)
    cases = with_case_classes(cases, findings, naming)
    if not cases:
        because = f": {first_reasons(rejected)}" if rejected else ""
        raise InputError(f"{directory} holds no image in the layout '{dataset}'{because}")
    groups_known = all(case.group for case in cases)
    table_file = Path(config.table) if config.table else None
    named = (groups_file, boxes_file, table_file, naming.table, *split_lists)
    tables = [path for path in named if path]
    read = Read(dataset, reason, listing, cases, rejected, tree.files, tables, findings)
    has_tables = listing.box_classes is not None and bool(listing.tables or table_file)
    return Listed(
        cases=cases,
        rejected=rejected,
        dataset=dataset,
        groups_known=groups_known,
        warnings=[] if groups_known else [GROUPS_UNKNOWN],
        source_tables=[*listing.tables, *filter(None, [naming.table]), *split_lists],
        groups_file=groups_file,
        boxes_file=boxes_file,
        annotated=has_tables or bool(boxes_file) or any(case.masks for case in cases),
        understood=understand(read, directory, config),
        findings=findings,
        table_file=table_file,
        patient_key=listing.patient_key,
    )


def _named(
    directory: Path, config: PrepareConfig, seed: int, patient_key: str
) -> tuple[str, str, Listing, Naming]:
    """The name of the layout, why it is that, the source as it is listed for the findings that are
    asked for or that its masks show, with the boxes of the user's file, and these findings.

    Args:
        directory: the source.
        config: settings.
        seed: draws subsets.
        patient_key: of an earlier run.
    """
    naming = name_findings(config, directory)
    options = _source_options(config, naming, seed, patient_key)
    dataset, reason, listing = _listing(directory, config, options)
    if by_values := _by_values(listing, config, directory):
        naming, told = by_values
        options = _source_options(config, naming, seed, patient_key)
        listing = _listing(directory, config, options, quiet=True)[2]
        understood = dataclasses.replace(listing.understood, values=told)
        listing = dataclasses.replace(listing, understood=understood)
    elif told := naming.left_out:
        understood = dataclasses.replace(listing.understood, values=told)
        listing = dataclasses.replace(listing, understood=understood)
    if asked := classes_asked(naming, listing.box_classes, config):
        options = dataclasses.replace(options, classes=asked)
        listing = _listing(directory, config, options, quiet=True)[2]
    for note in listing.notes:
        console.say(note)
    if config.boxes:
        listing = _with_boxes(listing, directory, options, naming, config)
    return dataset, reason, listing, naming


def _by_values(
    listing: Listing, config: PrepareConfig, directory: Path
) -> tuple[Naming, str] | None:
    """The findings that masks show by their values, where nobody said what those mean; None for
    black and white ones, and where boxes say what is there."""
    said = config.label or config.boxes or (config.findings and config.findings != [AUTO])
    if said or listing.box_classes is not None:
        return None
    segments = listing.segments
    if config.findings and (segments or label_table(directory)[0]):
        return None
    found = values_of(listing.cases)
    if segments and len(segments.counts) > 1 and (found.are_labels or segments.layered):
        no_table = label_table(directory)[0] is None
        return name_segments(segments.counts) if no_table else name_values(found, directory)
    if config.findings:
        found = dataclasses.replace(found, may_number=False)
    return name_values(found, directory) if found.are_labels else None


def _listing(
    directory: Path, config: PrepareConfig, options: SourceOptions, quiet: bool = False
) -> tuple[str, str, Listing]:
    """The name of the layout, why it is that, and what lies in the source: as the user's table of
    cases says, else as the layout does."""
    if config.table:
        return TABLE, f"--table {config.table}", list_table(Path(config.table), directory, options)
    source, reason = choose_source(config.dataset, directory, options.boxes_given)
    if config.dataset == "auto" and not quiet:
        console.say(f"{directory} is read as '{source.name}': {printable(reason)}")
    return source.name, printable(reason), source.list_cases(directory, options)


def _source_options(
    config: PrepareConfig, naming: Naming, seed: int, patient_key: str
) -> SourceOptions:
    if naming.values is not None and config.label:
        raise ConfigError("findings and label both say what mask values mean; give one of them")
    by_name = naming.values is None and not (naming.from_class or config.label or config.boxes)
    return SourceOptions(
        labels=naming.values or parse_labels(config.label),
        findings=not naming.is_one,
        finding_names=naming.in_names,
        structures=naming.names if (config.findings or naming.of_segments) and by_name else None,
        classes=tuple(config.classes),
        axis=config.axis,
        channel=config.channel,
        empty_slices=config.empty_slices,
        whole_volumes=config.whole_volumes,
        keep_names=config.keep_names,
        patient_key=patient_key,
        resample_masks=config.resample_masks,
        boxes_given=bool(config.boxes),
        unannotated=config.unannotated,
        annotators=config.annotators,
        seed=seed,
        images=config.images,
        masks=config.masks,
        accept=tuple(config.accept),
        fit_boxes=parse_fit(config.fit_boxes),
    )


def _with_boxes(
    listing: Listing,
    directory: Path,
    options: SourceOptions,
    naming: Naming,
    config: PrepareConfig,
) -> Listing:
    """The listing with the boxes of the user's file. Raises: InputError where none of its images is
    there.

    Args:
        listing: of the source.
        directory: the source.
        options: by which it was listed.
        naming: the findings that are asked for.
        config: settings; of these, the file.
    """
    boxes_file = Path(config.boxes)
    names = CaseNames(listing.cases)
    content = format_of(boxes_file).read(boxes_file, KnownBeside(size_of=names.size_of))
    if content is None:
        raise InputError(f"boxes file {boxes_file} is no table or annotation file that is known")
    for text, count in content.notes.items():
        if count:
            console.say(f"{boxes_file.name}: {text}: {count}")
    if asked := classes_asked(naming, content.classes, config):
        options = dataclasses.replace(options, classes=asked)
    cases, strangers = apply_boxes(listing.cases, content.images, options, names)
    if len(strangers) == len(content.images):
        there = ", ".join(dict.fromkeys(case.name for case in listing.cases[:2]))
        named = ", ".join(filter(None, strangers[:2])) or "none in a column that is known (`image`)"
        raise InputError(
            f"no image of {directory} ({there}, ...) is in {boxes_file}, which names {named}"
        )
    return dataclasses.replace(
        listing,
        cases=cases,
        rejected=[*listing.rejected, *without_image(boxes_file.name, strangers)],
        box_classes=content.classes or listing.box_classes,
    )


def _plain(case: RawCase) -> RawCase:
    """The case with no control character in what tables, pages and terminals tell of it."""
    texts = (case.class_name, case.group, *case.columns.values(), *case.columns)
    if all(text.isprintable() for text in texts):
        return case
    columns = {printable(name): printable(text) for name, text in case.columns.items()}
    return dataclasses.replace(
        case,
        class_name=printable(case.class_name),
        group=printable(case.group),
        columns=columns,
    )


def _of_classes(
    cases: list[RawCase], classes: Sequence[str], box_classes: Sequence[str] | None
) -> list[RawCase]:
    known = sorted(set(box_classes or ()) | {case.class_name for case in cases if case.class_name})
    for name in classes:
        if name not in known:
            raise InputError(
                f"class '{name}' is not in the source{nearest(name, known or ['(no classes)'])}"
            )
    # Where boxes have classes, those of others are gone already, and their images stay.
    if not classes or box_classes is not None:
        return cases
    return [case for case in cases if case.class_name in classes]
