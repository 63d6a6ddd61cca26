"""Which label tools boxes can be written for. To add one: a class beside its format's reader, and a
line here."""

from __future__ import annotations

from meddistill.data.formats.annotation_writer import AnnotationWriter
from meddistill.data.formats.box_table import BoxTableWriter
from meddistill.data.formats.coco import CocoWriter
from meddistill.data.formats.cvat import CvatWriter
from meddistill.data.formats.label_studio import LabelStudioWriter
from meddistill.data.formats.labelme import LabelmeWriter
from meddistill.data.formats.voc import VocWriter
from meddistill.data.formats.yolo_labels import YoloWriter

ANNOTATION_WRITERS: dict[str, AnnotationWriter] = {
    "coco": CocoWriter(),
    "yolo": YoloWriter(),
    "csv": BoxTableWriter(),
    "voc": VocWriter(),
    "labelme": LabelmeWriter(),
    "cvat": CvatWriter(),
    "labelstudio": LabelStudioWriter(),
}
