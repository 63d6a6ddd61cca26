"""What masks are by their values where nobody said."""

import json

import cv2
import numpy as np
import pytest
from support.label_maps import label_maps
from support.layouts import image, save
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError
from meddistill.data.findings import Findings
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_boxes

WHERE = ((2, 2, 8, 9), (12, 3, 20, 8), (3, 14, 9, 20), (12, 12, 20, 20))


def cells(root, counts=(3, 4, 2, 4)):
    """Masks that number their cells from 1."""
    for number, count in enumerate(counts):
        mask = np.zeros((24, 24), dtype=np.uint8)
        for value, (x1, y1, x2, y2) in enumerate(WHERE[:count], start=1):
            mask[y1:y2, x1:x2] = value
        save(root / "images" / f"c{number}.png", image(number))
        save(root / "masks" / f"c{number}.png", mask)
    return root


def test_values_of_label_maps_are_findings_and_that_is_said(tmp_path, prepare, capsys):
    out, _, _ = prepare(label_maps(tmp_path / "source", values=(1, 3)), **ALL_IN_TRAINING)
    assert read_findings(out) == Findings(("value 1", "value 3"))
    told = capsys.readouterr().err
    assert "mask values: 1, 3: each a finding of its own" in told
    assert "--findings a=1,b=3 names them, --label any makes them one" in told


@pytest.mark.parametrize("below", ["", "Dataset001_T", "src/nnUNet_raw/Dataset001_T"])
@pytest.mark.parametrize("findings", [[], ["auto"]])
def test_a_dataset_json_names_them_by_itself(tmp_path, prepare, below, findings):
    source = label_maps(tmp_path / "source" / below)
    labels = {"labels": {"background": 0, "liver": 1, "tumour": 2}}
    (source / "dataset.json").write_text(json.dumps(labels))
    out, _, _ = prepare(tmp_path / "source", findings=findings, **ALL_IN_TRAINING)
    assert read_findings(out) == Findings(("liver", "tumour"))


def two_tasks(root, second):
    """Two data sets in one folder, with a dataset.json each."""
    for name, labels in (("liver", {"0": "background", "1": "liver", "2": "cancer"}), second):
        label_maps(root / name)
        (root / name / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


def test_dataset_jsons_of_other_labels_are_sources_of_their_own(tmp_path, prepare):
    source = two_tasks(tmp_path / "source", ("spleen", {"0": "background", "1": "spleen"}))
    told = r"liver/dataset.json has liver=1, cancer=2; spleen/dataset.json has spleen=1\).*"
    told += r"--source \S+/liver --source \S+/spleen --findings auto"
    for findings in ([], ["auto"], ["liver"]):
        with pytest.raises(InputError, match=told):
            prepare(source, findings=findings, **ALL_IN_TRAINING)
    out, _, _ = prepare(source, findings=["a=1", "b=2"], **ALL_IN_TRAINING)
    assert read_findings(out) == Findings(("a", "b"))


def test_dataset_jsons_that_say_the_same_are_one(tmp_path, prepare):
    source = two_tasks(tmp_path / "source", ("more", {"background": 0, "liver": 1, "cancer": 2}))
    # Beside results, above no image, one has no say.
    (source / "results").mkdir()
    (source / "results" / "dataset.json").write_text(json.dumps({"labels": {"other": 1}}))
    out, _, _ = prepare(source, **ALL_IN_TRAINING)
    assert read_findings(out) == Findings(("liver", "cancer"))


def test_one_value_alone_is_the_lesion(tmp_path, prepare):
    source = label_maps(tmp_path / "source", values=(38, 38))
    out, cases, _ = prepare(source, **ALL_IN_TRAINING)
    assert read_findings(out) == Findings()
    assert annotated_boxes(out, cases["c0"]).tolist() == [[26, 20, 40, 34], [4, 5, 16, 15]]


def test_a_dataset_json_of_one_label_leaves_it_the_lesion(tmp_path, prepare):
    source = label_maps(tmp_path / "source", values=(1, 1))
    (source / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1, "b": 2}}))
    out, _, _ = prepare(source, **ALL_IN_TRAINING)
    assert read_findings(out) == Findings()


def test_numbered_objects_are_asked_about_and_read_one_by_one(tmp_path, prepare):
    source = cells(tmp_path / "source")
    with pytest.raises(
        InputError, match=r"1, 2, 3, 4, which may number objects.*--label instances"
    ):
        prepare(source, **ALL_IN_TRAINING)
    out, cases, _ = prepare(source, label="instances", **ALL_IN_TRAINING)
    found = {tuple(box) for box in annotated_boxes(out, cases["c1"]).tolist()}
    assert found == set(WHERE)
    assert read_findings(out) == Findings()
    mask = cv2.imread(str(out / "masks" / "train" / "c0.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {0, 255}


def test_findings_auto_takes_values_that_run_from_one_as_findings(tmp_path, prepare):
    out, _, _ = prepare(cells(tmp_path / "source"), findings=["auto"], **ALL_IN_TRAINING)
    assert len(read_findings(out)) == 4
