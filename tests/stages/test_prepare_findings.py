"""Several findings through `prepare`: what is named, boxed, kept in masks, and refused."""

import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image
from support.label_maps import label_maps

from meddistill.base.errors import ConfigError, InputError
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import load_labels
from meddistill.run.findings import read_findings
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import RunDir
from meddistill.run.tables import read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

AB = ["a=1", "b=2"]


def _prepare(tmp_path, source, **settings):
    run = RunDir(tmp_path / "run")
    config = PrepareConfig(source=str(source), val_fraction=0.2, **settings)
    return run_prepare(run, config, seed=0)


def test_label_maps_become_boxes_and_masks_by_finding(tmp_path):
    out = _prepare(tmp_path, label_maps(tmp_path / "source"), findings=AB)
    assert read_findings(out) == Findings(("a", "b"), exclusive=True)
    case = read_cases(out)[0]
    boxes, which = annotated_findings(out, case)
    assert boxes.tolist() == [[4, 5, 16, 15], [26, 20, 40, 34]]
    assert which.tolist() == [0, 1]
    labels = load_labels(mask_path(out, case))[0]
    assert (labels[10, 10], labels[25, 30]) == (1, 2)
    assert case.findings == ""


def test_regions_overlap_and_a_dataset_json_names_them(tmp_path):
    source = label_maps(tmp_path / "source")
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    (source / "dataset.json").write_text(json.dumps({"labels": labels}))
    out = _prepare(tmp_path, source, findings=["auto"])
    assert read_findings(out) == Findings(("whole", "core"), exclusive=False)
    assert annotated_findings(out, read_cases(out)[0])[1].tolist() == [0, 0, 1]


def _colours(out):
    """As they are stored, and as a mask shows the first finding."""
    with Image.open(mask_path(out, read_cases(out)[0])) as mask:
        shown = mask.convert("RGB").getpixel((10, 10)) if mask.mode == "P" else None
    return read_findings(out).as_dict()["colours"], shown


def test_findings_are_drawn_in_the_colours_that_somebody_chose(tmp_path):
    source = label_maps(tmp_path / "source")
    out = _prepare(tmp_path, source, findings=["a=1:#00ff00", "b=2"])
    assert read_findings(out) == Findings(("a", "b"), exclusive=True)
    assert _colours(out) == (["#00ff00", "#ffdd00"], (0, 255, 0))


def test_one_finding_has_a_colour_of_its_own(tmp_path):
    source = label_maps(tmp_path / "source", values=(255, 255))
    out = _prepare(tmp_path, source, findings=["lesion:#00ff00"])
    assert _colours(out) == (["#00ff00"], None)


def test_a_dataset_json_says_colours_which_a_setting_overrides(tmp_path):
    source = label_maps(tmp_path / "source")
    table = {
        "labels": {"background": 0, "a": 1, "b": 2},
        "colours": {"a": "#00FF00", "b": "#0000ff"},
    }
    (source / "dataset.json").write_text(json.dumps(table))
    out = _prepare(tmp_path, source)  # values of which nobody said anything
    assert _colours(out) == (["#00ff00", "#0000ff"], (0, 255, 0))
    out = _prepare(tmp_path / "auto", source, findings=["auto", "a:#123456"])
    assert _colours(out) == (["#123456", "#0000ff"], (0x12, 0x34, 0x56))


@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (["a=1:red", "b=2"], "of 'a=1': 'red' is no colour; expected #rrggbb"),
        (["a=1:#0f0", "b=2"], "of 'a=1': '#0f0' is no colour"),
        ([*AB, "c:#00ff00"], "finding 'c' has no value"),
        (["a=1:#00ff00", "b=2:#00FF00"], "finding 'b' is to be #00ff00, as is 'a'"),
        (["a=1:#000000", "b=2"], "finding 'a' is to be #000000, as is what is no finding"),
        (["from-class", "a:#00ff00"], "'a' has the colour #00ff00, and is none of the findings"),
    ],
)
def test_a_colour_that_cannot_be_is_one_line(tmp_path, findings, reason):
    source = label_maps(tmp_path / "source")
    rows = (f"c{index},g{index},{'x' if index % 2 else 'y'}" for index in range(6))
    (source / "groups.csv").write_text("id,group,class\n" + "\n".join(rows) + "\n")
    with pytest.raises(ConfigError, match=reason):
        _prepare(tmp_path, source, findings=findings)
    assert not (tmp_path / "run" / "data" / "cases.csv").exists()


@pytest.mark.parametrize(
    ("colours", "reason"),
    [
        ({"A": "#00ff00"}, "has a colour of 'A', which is none of its labels"),
        ({"a": "green"}, "has colours that are none: 'green' is no colour"),
        (["#00ff00"], "has colours that are none"),
    ],
)
def test_a_colour_of_a_dataset_json_that_cannot_be_is_one_line(tmp_path, colours, reason):
    source = label_maps(tmp_path / "source")
    table = {"labels": {"background": 0, "a": 1, "b": 2}, "colours": colours}
    (source / "dataset.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match=reason):
        _prepare(tmp_path, source, findings=["auto"])


def test_the_class_of_a_case_is_its_finding(tmp_path):
    source = label_maps(tmp_path / "source", values=(255, 255))
    rows = (f"c{index},g{index},{'benign' if index % 2 else 'malignant'}" for index in range(6))
    (source / "groups.csv").write_text("id,group,class\n" + "\n".join(rows) + "\n")
    out = _prepare(tmp_path, source, findings=["from-class"])
    assert read_findings(out) == Findings(("benign", "malignant"), exclusive=True)
    for case in read_cases(out):
        place = ["benign", "malignant"].index(case.class_name)
        assert annotated_findings(out, case)[1].tolist() == [place, place]


@pytest.mark.parametrize("names", [["benign"], ["benign", "malignant"]])
def test_a_mask_of_another_class_is_none_of_the_findings(tmp_path, capfd, names):
    source = label_maps(tmp_path / "source", values=(255, 255))
    kinds = ("benign", "malignant", "cyst")
    rows = (f"c{index},g{index},{kinds[index % 3]}" for index in range(6))
    (source / "groups.csv").write_text("id,group,class\n" + "\n".join(rows) + "\n")
    out = _prepare(tmp_path, source, findings=names)
    for case in read_cases(out):
        is_one = case.class_name in names
        assert case.annotation == ("boxes" if is_one else "none")
        assert bool(load_labels(mask_path(out, case))[0].any()) == is_one
    others = "cyst 2" if len(names) > 1 else "cyst 2, malignant 2"
    told = " ".join(capfd.readouterr().err.split())
    assert f"none of the findings is in masks of the class {others}" in told


def test_a_class_that_is_a_finding_but_for_case_stops(tmp_path):
    source = label_maps(tmp_path / "source", values=(255, 255))
    rows = (f"c{index},g{index},{('benign', 'Benign')[index % 2]}" for index in range(6))
    (source / "groups.csv").write_text("id,group,class\n" + "\n".join(rows) + "\n")
    with pytest.raises(ConfigError, match="of the class 'Benign' would be left out"):
        _prepare(tmp_path, source, findings=["benign"])


def test_boxes_without_a_name_are_of_the_class_of_their_case(tmp_path):
    source = label_maps(tmp_path / "source", values=(255, 255))
    rows = (f"c{index},g{index},{('benign', 'malignant')[index % 2]}" for index in range(6))
    (source / "groups.csv").write_text("id,group,class\n" + "\n".join(rows) + "\n")
    boxes = tmp_path / "boxes.csv"
    lines = "".join(f"c{index}.png,2,2,9,9\n" for index in range(6))
    boxes.write_text("image,x1,y1,x2,y2\n" + lines)
    out = _prepare(tmp_path, source, findings=["benign"], boxes=str(boxes))
    told = {case.class_name: case.annotation for case in read_cases(out)}
    assert told == {"benign": "boxes", "malignant": "none"}


def test_a_class_that_says_nothing_is_there_is_no_finding(tmp_path):
    source = label_maps(tmp_path / "source", values=(255, 255))
    kinds = ("benign", "malignant", "normal")
    rows = (f"c{index},g{index},{kinds[index % 3]}" for index in range(6))
    (source / "groups.csv").write_text("id,group,class\n" + "\n".join(rows) + "\n")
    for index in (2, 5):
        cv2.imwrite(str(source / "masks" / f"c{index}.png"), np.zeros((40, 48), np.uint8))
    out = _prepare(tmp_path, source, findings=["from-class"])
    assert read_findings(out) == Findings(("benign", "malignant"), exclusive=True)
    healthy = [case for case in read_cases(out) if case.class_name == "normal"]
    assert [(case.annotation, case.findings) for case in healthy] == [("none", "")] * 2


def test_what_nobody_looked_for_is_unknown_and_not_boxed(tmp_path):
    source = label_maps(tmp_path / "source")
    table = "id,group,findings\n" + "".join(
        f"c{index},g{index},{'a' if index % 2 else 'a;b'}\n" for index in range(6)
    )
    (source / "groups.csv").write_text(table)
    out = _prepare(tmp_path, source, findings=AB)
    for case in read_cases(out):
        alone = int(case.case_id[1:]) % 2 == 1
        assert case.findings == ("a" if alone else "")
        assert annotated_findings(out, case)[1].tolist() == ([0] if alone else [0, 1])
        assert case.looked_for("b") is not alone


def test_boxes_name_their_finding_and_incomplete_ones_leave_the_others_unknown(tmp_path):
    source = label_maps(tmp_path / "source")
    boxes = "image,x1,y1,x2,y2,class\n" + "".join(
        f"c{index}.png,1,2,9,9,{'ab'[index % 2]}\n" for index in range(6)
    )
    (tmp_path / "boxes.csv").write_text(boxes)
    out = _prepare(
        tmp_path,
        source,
        boxes=str(tmp_path / "boxes.csv"),
        findings=AB,
        complete=False,
    )
    cases = {case.case_id: case for case in read_cases(out)}
    assert (cases["c0"].findings, cases["c1"].findings) == ("a", "b")
    assert annotated_findings(out, cases["c1"])[1].tolist() == [1]


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"findings": ["a=1"]}, InputError, r"2: 1176 px in 6 file\(s\), such as .*c0"),
        ({"findings": [*AB, "c=7"]}, InputError, "finding 'c' has no box in any of 6 cases"),
        ({"findings": ["a=1", "A =2"]}, ConfigError, "differ at most by case or space"),
        ({"findings": ["a=1+2", "b=2+3"]}, ConfigError, "share values without one lying"),
        ({"findings": [*AB, "c=7", "d=9"]}, InputError, r"'c', 'd' have no .*\(--findings a,b\)"),
        ({"findings": [*AB, "a=2"]}, ConfigError, "finding 'a' is named twice with other values"),
        (
            {"findings": ["a=1", "b=x"]},
            ConfigError,
            "finding 'b=x': expected NAME=VALUE, or NAME=1",
        ),
        ({"findings": ["a=1", "b"]}, ConfigError, "finding 'b' has no value, others have"),
        ({"findings": ["a", "b"]}, InputError, "its mask does not say|not a black and white mask"),
        ({"findings": AB, "label": "1"}, ConfigError, "both say what mask values mean"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_nothing(tmp_path, settings, error, told):
    source = label_maps(tmp_path / "source")
    with pytest.raises(error, match=told):
        _prepare(tmp_path, source, **settings)
    assert not (tmp_path / "run" / "data").exists()


def test_values_can_be_background(tmp_path):
    source = label_maps(tmp_path / "source")
    out = _prepare(tmp_path, source, findings=["a=1", "background=2"])
    assert read_findings(out) == Findings(("a",))
    assert annotated_findings(out, read_cases(out)[0])[0].tolist() == [[4, 5, 16, 15]]


def test_values_that_a_dataset_json_ignores_are_no_finding_and_that_is_said(tmp_path, capfd):
    source = label_maps(tmp_path / "source", values=(1, 3))
    labels = {"background": 0, "liver ": 1, "spleen": 2, "ignore": 3}
    (source / "dataset.json").write_text(json.dumps({"labels": labels}))
    mask = load_labels(source / "masks" / "c0.png")[0]
    mask[0:4, 30:40] = 2
    cv2.imwrite(str(source / "masks" / "c0.png"), mask)
    out = _prepare(tmp_path, source)
    assert read_findings(out) == Findings(("liver", "spleen"))
    assert "dataset.json: liver, spleen; 3 (ignore, or background) counts as nothing there" in (
        capfd.readouterr().err
    )


def test_what_a_dataset_json_ignores_is_said_of_findings_that_were_asked_for(tmp_path, capfd):
    source = label_maps(tmp_path / "source", values=(1, 3))
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    (source / "dataset.json").write_text(json.dumps({"labels": labels}))
    _prepare(tmp_path, source, findings=["liver"])
    assert "2, 3 of dataset.json (ignore, or not asked for) count as nothing there" in (
        capfd.readouterr().err
    )


def test_boxes_without_a_name_reject_their_image_alone(tmp_path):
    source = label_maps(tmp_path / "source")
    shutil.rmtree(source / "masks")
    rows = (f"c{index}.png,1,2,9,9,{'ab'[index % 2] if index else ''}\n" for index in range(6))
    (tmp_path / "boxes.csv").write_text("image,x1,y1,x2,y2,class\n" + "".join(rows))
    rows = (f"c{index}.png,12,12,19,19,a\n" for index in range(6))
    with (tmp_path / "boxes.csv").open("a") as file:
        file.writelines(rows)
    out = _prepare(tmp_path, source, boxes=str(tmp_path / "boxes.csv"), findings=["auto"])
    assert "a box does not say which finding it is of" in (out / "rejected.csv").read_text()
    assert len(read_cases(out)) == 5


def test_a_box_of_what_nobody_looked_for_is_left_out_and_that_is_said(tmp_path, capfd):
    source = label_maps(tmp_path / "source")
    shutil.rmtree(source / "masks")
    (tmp_path / "boxes.csv").write_text(
        "image,x1,y1,x2,y2,class\n"
        + "".join(f"c{index}.png,1,2,9,9,{'ab'[index % 2]}\n" for index in range(6))
    )
    rows = (f"c{index},g{index},{'a' if index < 2 else 'a;b'}\n" for index in range(6))
    (source / "groups.csv").write_text("id,group,findings\n" + "".join(rows))
    _prepare(tmp_path, source, boxes=str(tmp_path / "boxes.csv"), findings=["auto"])
    assert "1 boxes of 1 images are left out (images/c1.png)" in capfd.readouterr().err


def test_a_column_of_findings_that_are_none_says_so(tmp_path):
    source = label_maps(tmp_path / "source", values=(255, 255))
    rows = "".join(f"c{index},g{index},a\n" for index in range(6))
    (source / "groups.csv").write_text("id,group,findings\n" + rows)
    with pytest.raises(
        InputError, match="column 'findings' names 'a', which is none of lesion; --fi"
    ):
        _prepare(tmp_path, source)
