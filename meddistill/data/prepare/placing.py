"""Where converted files come to lie in RUN/data: images, masks, labels, and the lists for
Ultralytics."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.files import write_text
from meddistill.data.findings import Findings
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.data.prepare.convert import Converted
from meddistill.run.findings import write_data_yaml
from meddistill.run.images import image_path
from meddistill.run.labels import label_path
from meddistill.run.layout import STAGING
from meddistill.run.tables import SPLITS, Case
from meddistill.run.true_masks import mask_path


def take_back(
    out: Path,
    key_by_source: Mapping[str, str],
    results: Mapping[str, Converted],
    previous: Sequence[Case],
) -> None:
    """Put what an earlier run made back into the staging folder, under the keys that the source has
    now.

    Args:
        out: RUN/data.
        key_by_source: the key of each case by its path in the source.
        results: what was converted, by key.
        previous: the cases of the earlier run.
    """
    for row in previous:
        key = key_by_source.get(row.source, "")
        result = results.get(key)
        if result and result.sha256 == row.sha256 and image_path(out, row).exists():
            _link(image_path(out, row), out / STAGING / f"{key}.png")
            if row.has_mask:
                _link(mask_path(out, row), out / STAGING / f"{key}.mask.png")


def place_files(
    out: Path, rows: Sequence[Case], results: Mapping[str, Converted], previous: Sequence[Case]
) -> None:
    """Put images, masks and labels where cases.csv says.

    An unknown case gets no label file: to a detector an empty one means `no lesion`.

    Args:
        out: RUN/data.
        rows: the cases.
        results: their conversions by case id; the files lie in the staging folder.
        previous: cases of an earlier run, whose files are taken away.
    """
    for split in SPLITS:
        for kind in ("images", "labels", "masks"):
            (out / kind / split).mkdir(parents=True, exist_ok=True)
    for row in previous:
        for path in (image_path(out, row), mask_path(out, row), label_path(out, row)):
            path.unlink(missing_ok=True)
    staging = out / STAGING
    for row in rows:
        result = results[row.case_id]
        _link(staging / f"{result.key}.png", image_path(out, row))
        if row.has_mask:
            _link(staging / f"{result.key}.mask.png", mask_path(out, row))
        if row.annotation != "unknown":
            boxes = np.array(result.boxes if row.n_boxes else [], dtype=np.float32)
            which = result.box_findings if row.n_boxes else []
            # Of a journal from before there were several, all boxes are of the one.
            write_yolo_label(label_path(out, row), boxes, (row.height, row.width), which or None)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        target.unlink()
        _link(source, target)
    except OSError:  # a file system without hard links
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)


def write_lists(out: Path, rows: Sequence[Case], findings: Findings) -> None:
    """data.yaml for Ultralytics, with lists that leave out the unknown cases: it would take them
    for negatives."""
    for split in SPLITS:
        lines = [
            f"./{row.image}\n" for row in rows if row.split == split and row.annotation != "unknown"
        ]
        write_text(out / f"{split}.txt", "".join(lines))
    write_data_yaml(out, findings, {split: f"{split}.txt" for split in SPLITS})
