"""Whole volumes: files that are cut, and stacks of pictures that a table ties together."""

from functools import partial

import numpy as np
import pytest
from support.layouts import image, make_nifti, mask, save
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import ConfigError
from meddistill.data.formats.pictures import read_rgb
from meddistill.run.images import image_path

TABLE = "id,patient,volume,slice,spacing\n"


@pytest.fixture
def prepare(prepare):
    return partial(prepare, **ALL_IN_TRAINING)


def make_stack(folder, rows):
    for number, _ in enumerate(rows):
        blank = number == 0
        save(folder / "images" / f"s{number}.png", image(number) * (not blank))
        save(folder / "masks" / f"s{number}.png", mask() * (not blank))
    text = TABLE + "".join(f"s{number},p1,{row}\n" for number, row in enumerate(rows))
    (folder / "groups.csv").write_text(text)


def placed(cases):
    return {
        name: (case.volume, case.slice, case.annotation, case.spacing_3d_mm)
        for name, case in cases.items()
    }


def test_pictures_become_a_volume_by_their_columns(tmp_path, prepare):
    make_stack(tmp_path / "s", ['v,7,"1,2,5"', 'v,8,"1,2,5"', "w,0,", ",,"])
    out, cases, reasons = prepare(tmp_path / "s", min_area_px=4)
    assert reasons == {}
    assert placed(cases) == {
        "s0": ("v", 7, "none", (5, 1, 2)),
        "s1": ("v", 8, "boxes", (5, 1, 2)),
        "s2": ("w", 0, "boxes", None),
        "s3": ("", None, "boxes", None),
    }
    assert not read_rgb(image_path(out, cases["s0"])).any()  # shows nothing, and is there
    assert (out / "duplicates.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["v,1,", "v,1,"], "slice 1 of volume 'v' is images/s0.png, too"),
        (["v,0,", "v,first,"], "its slice is 'first', expected a whole number"),
        (["v,0,", 'v,1,"1,0"'], "spacing is '1,0', expected row,column or row,column,slice in mm"),
    ],
)
def test_columns_that_say_nothing_are_rejected(tmp_path, prepare, rows, reason):
    make_stack(tmp_path / "s", [*rows, "w,0,"])
    _, cases, reasons = prepare(tmp_path / "s", min_area_px=4)
    assert list(reasons.values()) == [reason]
    assert "s0" in cases


def test_every_slice_of_a_file_is_a_case_in_its_place(tmp_path, prepare):
    make_nifti(tmp_path / "s")
    _, cases, _ = prepare(tmp_path / "s", min_area_px=1)
    first = [case for case in cases.values() if case.volume == "imagesTr/liver_1.nii.gz"]
    assert [case.slice for case in first] == [0, 1, 2, 3, 4]
    assert {case.spacing_3d_mm for case in first} == {(3, 2, 0.5)}
    assert {case.annotation for case in first} == {"none", "boxes"}


def test_a_table_without_volumes_keeps_its_columns(tmp_path, prepare):
    make_nifti(tmp_path / "s")
    out, _, _ = prepare(tmp_path / "s", whole_volumes=False, min_area_px=1)
    header = (out / "cases.csv").read_text().partition("\n")[0]
    assert "volume" not in header
    assert "slice" not in header


def test_thinning_is_refused_where_nothing_is_thinned(tmp_path, prepare):
    make_nifti(tmp_path / "s")
    with pytest.raises(ConfigError, match=r"set distill\.empty_slices and detect\.empty_slices"):
        prepare(tmp_path / "s", empty_slices=0.5)


def test_blank_slices_are_like_no_other(tmp_path, prepare):
    rows = [f"v{number},0," for number in range(2)]
    make_stack(tmp_path / "s", rows)
    save(tmp_path / "s" / "images" / "s1.png", np.zeros_like(image(0)))
    save(tmp_path / "s" / "masks" / "s1.png", mask() * 0)
    (tmp_path / "s" / "groups.csv").write_text(TABLE + "s0,p1,v0,0,\ns1,p2,v1,0,\ns2,p1,v0,1,\n")
    save(tmp_path / "s" / "images" / "s2.png", image(2))
    save(tmp_path / "s" / "masks" / "s2.png", mask())
    out, _, _ = prepare(tmp_path / "s", min_area_px=4, test="patient=p2", test_fraction=0.0)
    assert (out / "duplicates.csv").read_text().count("\n") == 1
