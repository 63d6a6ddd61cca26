"""Which annotation files can be read. To add a label tool: a module like `coco`, and a line here."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.formats.annotation_format import AnnotationFormat
from meddistill.data.formats.box_lines import BoxLines
from meddistill.data.formats.box_table import BoxTable
from meddistill.data.formats.coco import CocoJson
from meddistill.data.formats.createml import CreateMlJson
from meddistill.data.formats.cvat import CvatXml
from meddistill.data.formats.label_studio import LabelStudioJson
from meddistill.data.formats.labelme import LabelmeJson
from meddistill.data.formats.qupath import QupathGeojson
from meddistill.data.formats.rle_table import RunLengthTable
from meddistill.data.formats.supervisely import SuperviselyJson
from meddistill.data.formats.via import ViaFile
from meddistill.data.formats.voc import VocXml
from meddistill.data.formats.yolo_labels import YoloLabel

ANNOTATION_FORMATS: dict[str, AnnotationFormat] = {
    "coco": CocoJson(),
    "yolo": YoloLabel(),
    "voc": VocXml(),
    "cvat": CvatXml(),
    "labelme": LabelmeJson(),
    "labelstudio": LabelStudioJson(),
    "via": ViaFile(),
    "createml": CreateMlJson(),
    "boxes-txt": BoxLines(),
    "qupath": QupathGeojson(),
    "supervisely": SuperviselyJson(),
    "rle-csv": RunLengthTable(),
    "boxes-csv": BoxTable(),
}
"""A format is a source of the same name, too: by a layout of its own in `sources/`, or else wherever
its files and the images that they name lie in one folder (`sources.annotation_tables`)."""


def format_of(path: Path) -> AnnotationFormat:
    """The format of an annotation file, by its name and its first bytes.

    Raises: InputError for a file that is missing or of none that is known; a table that lacks
    columns is left to its own reader to say so.
    """
    if not path.exists():
        raise InputError(f"boxes file {path} does not exist")
    suffix = path.suffix.lower()
    fits = [each for each in ANNOTATION_FORMATS.values() if suffix in each.suffixes]
    found = next((each for each in fits if each.recognise(path)), None)
    if found is None and suffix in BoxTable.suffixes:
        return ANNOTATION_FORMATS["boxes-csv"]
    if found is None:
        names = "; ".join(f"{each.name}: {each.looks_like}" for each in ANNOTATION_FORMATS.values())
        raise InputError(f"boxes file {path} is of no format that is known ({names})")
    return found


def formats_table() -> list[str]:
    """The formats as lines of a Markdown table, for the page that lists them."""
    rows = [
        f"| `{each.name}` | {each.summary} | {each.no_annotation} |"
        for each in ANNOTATION_FORMATS.values()
    ]
    return ["| `--dataset` | files | an image without an object |", "|---|---|---|", *rows]
