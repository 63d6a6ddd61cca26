"""The tables of the study of few boxes compare draw by draw, and its curve is drawn from them."""

import json

import pytest
from PIL import Image
from support.script_module import load_script

from meddistill.base.errors import InputError


@pytest.fixture(scope="module")
def script():
    return load_script("studies/few_boxes_table")


def cell(arm, draw, *scores, boxes=20):
    return {
        "set_name": "toy",
        "boxes": boxes,
        "draw": draw,
        "arm": arm,
        "dice_mean": sum(scores) / len(scores),
        "found": 0.5,
        "no_pixel_hit": 1,
        "false_alarms": 2,
        "empty_cases": 4,
        "unboxed": 90,
        "seconds": {"wall": 300},
        "cases": ["a", "b"],
        "groups": ["g", "h"],
        "dice": list(scores),
    }


@pytest.fixture
def cells():
    return [
        cell("alone", 0, 0.4, 0.5),
        cell("alone", 1, 0.5, 0.4),
        cell("longer", 0, 0.5, 0.6),
        cell("colearning", 0, 0.6, 0.8),
        cell("colearning", 1, 0.7, 0.9),
        cell("without-views", 0, 0.5, 0.5),
        cell("alone", 0, 0.9, 0.9, boxes=0),
    ]


def test_of_each_draw_the_better_rival_is_compared_with(script, cells):
    line = script.make_table(cells).splitlines()[2]
    # Draw 0: .1 and .2 over `longer`; draw 1: .2 and .5 over `alone`.
    assert "| toy | 20 | 2 | 90 | 0.450 | 0.550 | 0.750 | +0.250 (+0.150 to +0.350) |" in line
    assert "| 2 of 4, 2 of 4 |" in line


def test_all_boxed_comes_last(script, cells):
    assert script.make_table(cells).splitlines()[-1].startswith("| toy | all | 1 | 90 | 0.900 |")


def test_a_part_is_worth_what_is_lost_without_it(script, cells):
    (line,) = script.make_parts_table(cells).splitlines()[2:]
    assert line == ("| toy | 20 | 1 | without views | 0.500 | -0.200 (-0.300 to -0.100) |")
    assert script.make_parts_table(cells[:5]) == ""


def test_cells_of_other_cases_are_not_compared(script, cells):
    cells[3]["cases"] = ["a", "c"]
    with pytest.raises(InputError, match="different cases"):
        script.make_table(cells)


def test_a_folder_without_a_cell_is_said(script, tmp_path):
    with pytest.raises(InputError, match="holds no cell"):
        script.read_cells(tmp_path)


def test_the_curve_is_drawn_from_the_cells(script, cells, tmp_path):
    for each in cells:
        name = f"toy-{each['boxes']}-{each['draw']}-{each['arm']}.json"
        (tmp_path / name).write_text(json.dumps(each))
    script.draw_curve(script.read_cells(tmp_path), tmp_path / "curve.png")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size[0] > 300
        assert len(picture.convert("RGB").getcolors(10**6)) > 10
