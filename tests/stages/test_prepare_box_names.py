"""Boxes of several classes through `prepare`: as one finding, as one of them, and as what was looked
for in part of the images."""

import json

import numpy as np
import pytest

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.formats.pictures import write_png
from meddistill.run.layout import RunDir
from meddistill.run.tables import read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

SIZE = 32
NAMES = ["liver", "tumour"]


def _coco(root, classes_of, record=lambda index: {}, categories=NAMES, count=6):
    """A picture a number, with a box of each class (its place in `categories`) that `classes_of`
    gives; `record`: what else COCO says of it."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(count):
        picture = rng.integers(20, 90, (SIZE, SIZE, 3), dtype=np.uint8)
        write_png(root / "images" / f"c{index}.png", picture)
        stated = {"id": index, "file_name": f"c{index}.png", "width": SIZE, "height": SIZE}
        images.append(stated | record(index))
        annotations += [
            {
                "image_id": index,
                "category_id": each,
                "bbox": [2 + 12 * each % 20, 4, 9 + each % 3, 11],
            }
            for each in classes_of(index)
        ]
    named = [{"id": place, "name": name} for place, name in enumerate(categories)]
    content = {"images": images, "annotations": annotations, "categories": named}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def _prepare(tmp_path, **settings):
    config = PrepareConfig(source=str(tmp_path / "source"), val_fraction=0.2, workers=1, **settings)
    return run_prepare(RunDir(tmp_path / "run"), config, seed=0)


def _told(capfd, label):
    lines = capfd.readouterr().err.splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.strip().startswith(label))


def test_that_boxes_of_several_classes_are_one_finding_is_said(tmp_path, capfd):
    _coco(tmp_path / "source", lambda _: (0, 1))
    out = _prepare(tmp_path)
    assert {case.n_boxes for case in read_cases(out)} == {2}
    told = _told(capfd, "findings:")
    assert told.startswith("boxes of liver 6, tumour 6: all are one finding, 'lesion'; --findings")


@pytest.mark.parametrize("apart", [False, True])
def test_one_finding_that_has_the_name_of_a_class_is_that_class_alone(tmp_path, capfd, apart):
    source = _coco(tmp_path / "source", lambda index: (0, 1) if index else (1,))
    settings = {}
    if apart:
        (source / "annotations.json").rename(tmp_path / "boxes.json")
        settings = {"boxes": str(tmp_path / "boxes.json")}
    cases = read_cases(_prepare(tmp_path, findings=["liver"], **settings))
    counts = {case.case_id: (case.annotation, case.n_boxes) for case in cases}
    assert counts.pop("c0") == ("none", 0)
    assert set(counts.values()) == {("boxes", 1)}
    assert _told(capfd, "findings:") == "boxes of liver 5"


def test_what_was_looked_for_in_part_is_no_healthy_image_of_one_finding(tmp_path):
    absent = {3: [0, 1], 4: [0]}  # all of it was looked for, one of two
    _coco(
        tmp_path / "source",
        lambda index: (index % 2,) if index < 3 else (1,) if index == 5 else (),
        lambda index: {"neg_category_ids": absent.get(index, [])},
    )
    cases = {case.case_id: case.annotation for case in read_cases(_prepare(tmp_path))}
    boxed = dict.fromkeys(["c0", "c1", "c2", "c5"], "boxes")
    assert cases == boxed | {"c3": "none", "c4": "unknown"}


def test_a_list_of_categories_that_is_none_rejects_its_image(tmp_path):
    _coco(
        tmp_path / "source",
        lambda _: (0, 1),
        lambda index: {"neg_category_ids": [1, {}, [[2]]][index]} if index < 3 else {},
    )
    out = _prepare(tmp_path, findings=["auto"])
    assert len(read_cases(out)) == 4
    assert "its neg_category_ids are no list of categories" in (out / "rejected.csv").read_text()


def test_two_categories_of_one_id_are_one_line(tmp_path):
    source = _coco(tmp_path / "source", lambda _: (0,))
    table = json.loads((source / "annotations.json").read_text())
    table["categories"][1]["id"] = 0
    (source / "annotations.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="category 0 is both liver and tumour"):
        _prepare(tmp_path)


def test_a_class_that_is_a_finding_but_for_case_is_not_left_out_in_silence(tmp_path):
    _coco(tmp_path / "source", lambda index: (index % 2, 2), categories=["Liver", *NAMES])
    with pytest.raises(ConfigError, match="boxes of 'Liver' would be left out: finding 'liver'"):
        _prepare(tmp_path, findings=NAMES)
    assert not (tmp_path / "run").exists()


def test_more_findings_than_a_mask_holds_say_what_to_do(tmp_path):
    names = [f"organ {number}" for number in range(17)]
    _coco(tmp_path / "source", lambda index: (index,), categories=names, count=17)
    with pytest.raises(ConfigError, match=r"holds 1 to 16: .* --set prepare.overlap=exclusive"):
        _prepare(tmp_path, findings=["auto"])
    assert len(read_cases(_prepare(tmp_path, findings=["auto"], overlap="exclusive"))) == 17
