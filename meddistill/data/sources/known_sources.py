"""Which layouts `prepare` can read, and which of them a folder has. To add one: a module like
`busi`, and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS
from meddistill.data.sources.annotation_tables import AnnotationTables
from meddistill.data.sources.boxes_csv import BoxesCsv
from meddistill.data.sources.brain_tumor import BrainTumor
from meddistill.data.sources.busi import Busi
from meddistill.data.sources.dicom_folders import DicomFolders
from meddistill.data.sources.figshare import Figshare
from meddistill.data.sources.folder import Folder, names_of_masks
from meddistill.data.sources.isic import Isic
from meddistill.data.sources.lgg import Lgg
from meddistill.data.sources.polyps import CvcClinicDb, Kvasir
from meddistill.data.sources.scan_folders import SCAN_SOURCES
from meddistill.data.sources.seeming import ARCHIVES, seems, unread_beside
from meddistill.data.sources.source import Source
from meddistill.data.sources.yolo_folders import YoloFolders

SOURCES: dict[str, Source] = {
    "brain-tumor": BrainTumor(),
    "figshare": Figshare(),
    "folder": Folder(),
    "isic": Isic(),
    "kvasir": Kvasir(),
    "cvc-clinicdb": CvcClinicDb(),
    "busi": Busi(),
    "lgg": Lgg(),
    **SCAN_SOURCES,
    "dicom": DicomFolders(),
    "coco": AnnotationTables(ANNOTATION_FORMATS["coco"]),
    "yolo": YoloFolders(),
    "voc": AnnotationTables(ANNOTATION_FORMATS["voc"]),
    "boxes-csv": BoxesCsv(),
}
for _name, _format in ANNOTATION_FORMATS.items():  # those that need no layout of their own
    SOURCES.setdefault(_name, AnnotationTables(_format))


def describe_sources() -> str:
    """A line a layout: its name and what it looks like."""
    return "\n".join(f"{source.name:13} {source.summary}" for source in SOURCES.values())


def sources_table() -> list[str]:
    """The layouts as lines of a Markdown table, for the page that lists them."""
    # A bar would end the cell, an asterisk begin slanted letters.
    rows = (
        f"| `{source.name}` | {source.summary.replace('|', '/').replace('*', chr(92) + '*')} |"
        for source in SOURCES.values()
    )
    return ["| `--dataset` | what is understood |", "|---|---|", *rows]


def choose_source(name: str, directory: Path, boxes_given: bool = False) -> tuple[Source, str]:
    """The source called `name`, or for `auto` the one that recognises the folder; and why.

    With `boxes_given` (a table of boxes from elsewhere) any folder of images will do.

    Raises: InputError where the folder is missing, or no layout or more than one fits, or what fits
    turns out to be another tool's; ConfigError for an unknown name.
    """
    names = list(SOURCES)
    if name != "auto" and name not in names:
        raise ConfigError(f"dataset is '{name}'{nearest(name, ['auto', *names])}")
    if not directory.is_dir():
        is_archive = directory.name.lower().endswith(ARCHIVES) and directory.is_file()
        hint = ": unpack it, and give the folder" if is_archive else ""
        what = "an archive" if is_archive else "not a folder"
        raise InputError(f"source {directory} is {what}{hint}")
    if name != "auto":
        return SOURCES[name], "named"
    fits = [
        (source, reason) for source in SOURCES.values() if (reason := source.recognise(directory))
    ]
    # `images/` and `masks/` fit half of all data sets: what is more telling goes first.
    special = [fit for fit in fits if not fit[0].general]
    if boxes_given and fits and not special and not names_of_masks(directory):
        return SOURCES["boxes-csv"], "images for the boxes file"
    fits = special or fits
    if not fits:
        raise InputError(
            f"{directory} {seems(directory)}: it has none of the layouts {', '.join(names)}; name one "
            "with --dataset, or arrange images/ and masks/ with equal stems"
        )
    if not special and (strangers := unread_beside(directory)):
        raise InputError(
            f"{directory} holds pictures, and {strangers}, which no known format reads: if they are "
            "annotations, export them in another format (`meddistill sources`); --dataset folder takes "
            "the pictures as they are"
        )
    if boxes_given:  # what the user names goes over the images, not what lies beside them
        fits = [fit for fit in fits if not isinstance(fit[0], AnnotationTables)] or fits
    if len(fits) > 1:
        reasons = "; ".join(f"{source.name}: {reason}" for source, reason in fits)
        choice = _boxes_over_scans([source for source, _ in fits], directory)
        raise InputError(f"{directory} fits more than one layout ({reasons}); {choice}")
    source, reason = fits[0]
    if isinstance(source, AnnotationTables):
        source.check(directory)
    return source, reason


def _boxes_over_scans(fits: Sequence[Source], directory: Path) -> str:
    """What a user is told to choose among layouts: scans and a file of boxes beside them are one
    set, which neither layout reads alone."""
    scans = [source.name for source in fits if source.name in ("dicom", *SCAN_SOURCES)]
    tables = [
        path
        for source in fits
        if isinstance(source, AnnotationTables) and not source.per_image
        for path in source.tables(directory)
    ]
    if not scans or not tables:
        return "choose with --dataset"
    return f"lay the boxes over the images with --boxes {tables[0]}, or choose with --dataset"
