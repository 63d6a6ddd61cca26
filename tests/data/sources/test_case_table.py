"""`--table`: cases with all that a table says of them."""

from functools import partial

import numpy as np
import pytest
from support.annotation_files import BOX, SIZE
from support.layouts import image, mask, save, volume, write_nrrd
from support.prepared import ALL_IN_TRAINING
from support.workbooks import write_xlsx

from meddistill.base.errors import InputError
from meddistill.run.labels import annotated_boxes


@pytest.fixture
def folder(tmp_path):
    for name in "abc":
        save(tmp_path / "set" / "scans" / f"{name}.png", image(ord(name)))
        save(tmp_path / "set" / "drawn" / f"{name}.png", mask())
    return tmp_path / "set"


@pytest.fixture
def prepare(prepare):
    return partial(prepare, **ALL_IN_TRAINING)


def facts(out, cases):
    return {
        name: (
            case.annotation,
            case.has_mask,
            case.class_name,
            case.group,
            case.spacing_mm,
            annotated_boxes(out, case).tolist(),
        )
        for name, case in cases.items()
    }


MASKS = [
    ["File", "Mask", "Patient", "Label", "Spacing", "age"],
    ["scans/a.png", "drawn/a.png", "p1", "cyst", "0.5", "41"],
    ["scans/b.png", "", "p1", "", "0.5x0.7", "41"],
    ["/home/me/set/scans/c.png", "/home/me/set/drawn/c.png", "p2", "mass", "", "52"],
]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".xlsx"])
def test_masks_classes_groups_and_spacing(folder, prepare, ending, capsys):
    path = folder / f"cases{ending}"
    if ending == ".xlsx":
        write_xlsx(path, MASKS)
    else:
        delimiter = "\t" if ending == ".tsv" else ";"
        path.write_text("\n".join(delimiter.join(row) for row in MASKS) + "\n")
    out, cases, reasons = prepare("", table=str(path), min_area_px=4)
    assert reasons == {}
    assert facts(out, cases) == {
        "a": ("boxes", True, "cyst", "p1", "0.5,0.5", [BOX]),
        "b": ("unknown", False, "", "p1", "0.5,0.7", []),
        "c": ("boxes", True, "mass", "p2", "", [BOX]),
    }
    said = capsys.readouterr().err
    assert "image in 'File'; mask in 'Mask'; class in 'Label'; group in 'Patient'" in said


def test_boxes_for_pictures_of_another_size_are_refused_or_scaled(folder, prepare, capsys):
    rows = [
        "image,width,height,x1,y1,x2,y2",
        "scans/a.png,12,12,2,3,5,6",
        "scans/b.png,24,24,2,3,5,6",
    ]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    _, _, reasons = prepare("", table=str(folder / "cases.csv"))
    assert "its boxes are for a picture of 12x12 px, it has 24x24" in reasons["scans/a.png"]
    out, cases, reasons = prepare(
        "", table=str(folder / "cases.csv"), fit_boxes="auto", overwrite=True
    )
    assert not reasons
    assert annotated_boxes(out, cases["a"]).tolist() == [[4, 6, 10, 12]]
    assert annotated_boxes(out, cases["b"]).tolist() == [[2, 3, 5, 6]]
    assert "boxes are scaled from 12x12 to 24x24 px: 1" in capsys.readouterr().err


def test_boxes_go_before_masks_which_serve_the_evaluation(folder, prepare):
    rows = [
        "image,seg,x1,y1,x2,y2,class,split",
        "scans/a.png,drawn/a.png,1,2,9,8,mass,train",
        "scans/a.png,drawn/a.png,10,2,19,8,cyst,train",
        "scans/b.png,drawn/b.png,,,,,,test",
    ]
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    out, cases, _ = prepare("", table=str(folder / "cases.csv"), test="split=test")
    assert facts(out, cases) == {
        "a": ("boxes", True, "cyst", "a", "", [[1, 2, 9, 8], [10, 2, 19, 8]]),
        "b": ("none", True, "", "b", "", []),
    }
    assert cases["b"].split == "test"


def test_a_label_that_is_a_file_is_the_mask(folder, prepare):
    (folder / "t.csv").write_text("image,label\nscans/a.png,drawn/a.png\n")
    out, cases, _ = prepare("", table=str(folder / "t.csv"), min_area_px=4)
    assert facts(out, cases)["a"][:3] == ("boxes", True, "")


def test_a_table_may_lie_apart_from_its_images(folder, tmp_path, prepare):
    table = tmp_path / "elsewhere.csv"
    table.write_text("image,mask\nscans/a.png,drawn/a.png\nscans/z.png,\n")
    _, cases, reasons = prepare(folder, table=str(table), min_area_px=4)
    assert set(cases) == {"a"}
    assert reasons == {"scans/z.png": "no image file scans/z.png"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age,sex\n1,2\n", "has the columns age, sex; expected one of image"),
        ("image,mask\nq.png,\n", "names 1 images, the first q.png: none is below"),
        (
            "image,group\nscans/a.png,1\nscans/a.png,2\n",
            "line 3: 'scans/a.png' has the group '1' and",
        ),
        ("image,spacing\nscans/a.png,wide\n", "none is below|spacing is 'wide'"),
        ("", "has the columns none"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_clear_line(folder, prepare, text, message):
    (folder / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        prepare("", table=str(folder / "t.csv"))
    assert "\n" not in str(caught.value)


def test_a_change_of_the_table_is_noticed(folder, prepare):
    from meddistill.base.errors import StageError

    (folder / "t.csv").write_text("image,mask\nscans/a.png,drawn/a.png\n")
    prepare("", table=str(folder / "t.csv"), min_area_px=4)
    (folder / "t.csv").write_text("image,mask,group\nscans/a.png,drawn/a.png,p1\n")
    with pytest.raises(StageError, match=r"inputs\.table"):
        prepare("", table=str(folder / "t.csv"), min_area_px=4)


def test_volumes_of_a_table_are_cut_into_slices(tmp_path, prepare):
    root = tmp_path / "set"
    for number in (1, 2):
        write_nrrd(root / f"v{number}.nrrd", volume(number).transpose(2, 1, 0))
    labels = np.zeros((5, SIZE, SIZE), dtype=np.uint8)
    labels[2] = mask(1)
    write_nrrd(root / "drawn" / "first.nrrd", labels)
    rows = "image,mask,patient,split,kind\nv1.nrrd,first.nrrd,p7,train,a\nv2.nrrd,,p8,test,b\n"
    (root / "cases.csv").write_text(rows)
    out, cases, reasons = prepare("", table=str(root / "cases.csv"))
    assert reasons == {}
    assert [case.annotation for case in cases.values()].count("boxes") == 1
    assert annotated_boxes(out, cases["v1_z2"]).tolist() == [BOX]
    assert {(case.group, case.split) for case in cases.values()} == {
        ("p7", "train"),
        ("p8", "test"),
    }


def test_a_spacing_in_the_table_counts_where_a_volume_says_none(tmp_path, prepare):
    root = tmp_path / "set"
    write_nrrd(root / "a.nrrd", volume(1).transpose(2, 1, 0))
    voxels = volume(2).astype("<i2")
    sizes = " ".join(map(str, voxels.shape))
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: raw\n\n"
    (root / "b.nrrd").write_bytes(head.encode() + voxels.tobytes(order="F"))
    rows = 'image,spacing\na.nrrd,"7,7,7"\nb.nrrd,"0.4,0.6,5"\n'
    (root / "cases.csv").write_text(rows)
    _, cases, _ = prepare("", table=str(root / "cases.csv"))
    assert {(case.volume, case.spacing_mm, case.slice_mm) for case in cases.values()} == {
        ("a.nrrd", "2,0.5", 3.0),
        ("b.nrrd", "0.4,0.6", 5.0),
    }


def test_volumes_of_equal_names_are_of_two_patients(tmp_path, prepare):
    root = tmp_path / "set"
    for number in (1, 2):
        write_nrrd(root / f"p{number}" / "scan.nrrd", volume(number).transpose(2, 1, 0))
    (root / "cases.csv").write_text("image,split\np1/scan.nrrd,train\np2/scan.nrrd,test\n")
    _, cases, _ = prepare("", table=str(root / "cases.csv"))
    assert {case.group for case in cases.values()} == {"p1/scan.nrrd", "p2/scan.nrrd"}


def test_a_table_s_box_does_not_say_which_slice_it_is_on(tmp_path, prepare):
    write_nrrd(tmp_path / "set" / "v1.nrrd", volume(1).transpose(2, 1, 0))
    (tmp_path / "set" / "t.csv").write_text("image,x1,y1,x2,y2\nv1.nrrd,1,2,3,4\n")
    with pytest.raises(InputError, match="is below"):
        prepare("", table=str(tmp_path / "set" / "t.csv"))
