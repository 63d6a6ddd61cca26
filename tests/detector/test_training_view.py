"""What Ultralytics gets to train on: annotated cases, and no file of the data that it could change."""

import dataclasses
import os
import shutil
from pathlib import Path

from support.detector_data import write_data

from meddistill.detector.training_view import write_training_view
from meddistill.run.images import image_path


def test_ultralytics_never_gets_an_unknown_case(tmp_path):
    annotated = {f"train-{i}": "boxes" for i in range(3)} | {f"val-{i}": "boxes" for i in range(2)}
    annotated |= {f"{split}-healthy": "none" for split in ("train", "val")}
    annotated |= {f"{split}-bare": "unknown" for split in ("train", "val", "test")}
    cases = write_data(tmp_path / "data", annotated)
    view = write_training_view(tmp_path / "view", cases, tmp_path / "data")
    names = {
        split: {Path(line).stem for line in (view / f"{split}.txt").read_text().split()}
        for split in ("train", "val")
    }
    assert names["train"] == {f"train-{i}" for i in range(3)} | {"train-healthy"}
    assert names["val"] == {"val-0", "val-1", "val-healthy"}
    assert not [path for path in view.rglob("*") if "bare" in path.name]
    assert (view / "labels/train/train-healthy.txt").read_text() == ""
    assert (view / "labels/train/train-0.txt").read_text().startswith("0 ")


def test_jpeg_images_are_copied_so_that_a_repair_in_place_stays_outside_the_data(tmp_path):
    cases = write_data(tmp_path / "data", {"train-0": "boxes", "val-0": "boxes"})
    view = write_training_view(tmp_path / "view", cases, tmp_path / "data")
    png = image_path(tmp_path / "data", cases[0])
    assert os.path.samefile(view / "images/train/train-0.png", png)
    shutil.copy(png, png.with_suffix(".jpg"))
    jpeg = dataclasses.replace(cases[0], image=str(Path(cases[0].image).with_suffix(".jpg")))
    view = write_training_view(tmp_path / "view", [jpeg, cases[1]], tmp_path / "data")
    assert not os.path.samefile(view / "images/train/train-0.jpg", png.with_suffix(".jpg"))
