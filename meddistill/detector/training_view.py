"""What Ultralytics is given to train on: a folder of annotated cases alone, laid out as it wants."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from meddistill.base.files import write_json, write_text
from meddistill.data.findings import LESION, Findings
from meddistill.run.images import image_path
from meddistill.run.labels import label_path
from meddistill.run.tables import Case


def write_training_view(
    directory: Path, cases: Iterable[Case], data_dir: Path, findings: Findings = LESION
) -> Path:
    """Lay out annotated cases as Ultralytics wants them; returns `directory`, made anew.

    Ultralytics takes an image without a label for one without a lesion. So the lists that it gets,
    `train.txt` and `val.txt`, hold the cases that were annotated, with boxes or as free of lesions,
    and never an `unknown` one. Its caches land here, outside the prepared data. Where no validation
    case has a box, it validates on training cases.
    """
    shutil.rmtree(directory / "images", ignore_errors=True)
    shutil.rmtree(directory / "labels", ignore_errors=True)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    has_box = False
    for case in cases:
        if case.split not in lists or case.annotation not in ("boxes", "none"):
            continue
        source = image_path(data_dir, case)
        image = directory / "images" / case.split / f"{case.case_id}{source.suffix}"
        label = directory / "labels" / case.split / f"{case.case_id}.txt"
        _link(source, image)
        text = (
            label_path(data_dir, case).read_text(encoding="utf-8")
            if case.annotation == "boxes"
            else ""
        )
        write_text(label, text)
        lists[case.split].append(str(image.resolve()))
        has_box |= case.split == "val" and case.annotation == "boxes"
    for split, images in lists.items():
        write_text(directory / f"{split}.txt", "".join(f"{image}\n" for image in images))
    content = {
        "path": str(directory.resolve()),
        "train": "train.txt",
        "val": "val.txt" if has_box else "train.txt",
    }
    names = {str(number): name for number, name in enumerate(findings.names)}
    write_json(directory / "data.yaml", {**content, "names": names})  # JSON is YAML
    return directory


def looked_for_in_view(
    directory: Path, cases: Iterable[Case], findings: Findings
) -> dict[str, list[bool]] | None:
    """Of each image of a training view which findings were looked for; None where all were
    everywhere."""
    looked = {
        str(
            (
                directory / "images" / case.split / f"{case.case_id}{Path(case.image).suffix}"
            ).resolve()
        ): [case.looked_for(name) for name in findings.names]
        for case in cases
        if case.annotation != "unknown"
    }
    return None if findings.is_one or all(map(all, looked.values())) else looked


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Ultralytics repairs damaged JPEG files in place: those are copied, so that the prepared data
    # stay as they are.
    if source.suffix.lower() == ".png":
        try:
            os.link(source, target)
            return
        except OSError:  # another file system, or one without hard links
            pass
    shutil.copyfile(source, target)
