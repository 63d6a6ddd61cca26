"""Which annotation files can be read. To add a label tool: a module like `coco`, and a line here."""

from __future__ import annotations

from meddistill.data.formats.annotation_format import AnnotationFormat
from meddistill.data.formats.box_table import BoxTable
from meddistill.data.formats.coco import CocoJson
from meddistill.data.formats.voc import VocXml
from meddistill.data.formats.yolo_labels import YoloLabel

ANNOTATION_FORMATS: dict[str, AnnotationFormat] = {
    "coco": CocoJson(),
    "yolo": YoloLabel(),
    "voc": VocXml(),
    "boxes-csv": BoxTable(),
}
"""A format is a source of the same name, too: by a layout of its own in `sources/`, or else wherever
its files and the images that they name lie in one folder (`sources.annotation_tables`)."""
