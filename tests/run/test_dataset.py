"""The cases of a RUN: images, boxes and splits, and what is refused."""

import dataclasses

import numpy as np
import pytest

from meddistill.base.errors import InputError, StageError
from meddistill.base.hashing import sha256_file
from meddistill.data.formats.pictures import write_png
from meddistill.data.formats.yolo_labels import write_yolo_label
from meddistill.run.dataset import Dataset
from meddistill.run.labels import label_path
from meddistill.run.layout import RunDir
from meddistill.run.tables import Case

BOX = np.array([[2, 4, 10, 12]], np.float32)


@pytest.fixture
def dataset(tmp_path):
    cases = []
    for case_id, split, boxes in (("a", "train", 1), ("b", "val", 0), ("c", "test", 0)):
        annotation = "boxes" if boxes else "none"
        image = f"images/{case_id}.png"
        cases.append(
            Case(case_id, split, "g", "", annotation, False, image, 16, 20, boxes, "", "", "")
        )
        write_png(tmp_path / image, np.full((20, 16, 3), ord(case_id), np.uint8))
    write_yolo_label(label_path(tmp_path, cases[0]), BOX, (20, 16))
    return Dataset(tmp_path, cases)


def test_a_case_is_found_with_its_image_boxes_and_split(dataset):
    assert [case.case_id for case in dataset.of_split("train", "test")] == ["a", "c"]
    assert (dataset.image(dataset.by_id["b"]) == ord("b")).all()
    assert dataset.boxes(dataset.by_id["a"]).tolist() == BOX.tolist()
    assert dataset.boxes(dataset.by_id["b"]).shape == (0, 4)
    assert len(dataset) == 3


def test_an_image_of_another_size_than_its_row_is_refused(dataset):
    write_png(dataset.image_path(dataset.by_id["a"]), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"a\.png is 8x8 px, cases\.csv says 16x20"):
        dataset.image(dataset.by_id["a"])


def test_data_that_are_not_prepared_name_the_command(tmp_path):
    with pytest.raises(StageError, match="run `meddistill prepare` first"):
        Dataset.open(tmp_path)


def test_data_may_lie_elsewhere(tmp_path):
    assert RunDir(tmp_path).data == tmp_path / "data"
    assert RunDir(tmp_path, tmp_path / "other").data == tmp_path / "other"


def test_an_image_in_the_place_of_another_is_refused(tmp_path):
    image = np.zeros((20, 16, 3), np.uint8)
    write_png(tmp_path / "a.png", image)
    about = ("a", "train", "g", "", "none", False, "a.png", 16, 20, 0, "", "")
    case = Case(*about, sha256_file(tmp_path / "a.png"), volume="v", slice=0)
    data = Dataset(tmp_path, [case])
    assert not data.image(case).any()
    write_png(tmp_path / "a.png", image + 1)
    for context in (0, 1):
        with pytest.raises(
            InputError, match=r"a\.png is not the image that prepare wrote.*restore"
        ):
            data.seen(case, context)
    assert data.image(dataclasses.replace(case, sha256="")).all()
