"""Boxes of 3D Slicer on the slices of volumes, whatever way the volume is stored."""

import json

import numpy as np
import pytest
from support.layouts import volume
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError
from meddistill.data.boxes import mask_to_boxes
from meddistill.data.formats.slicer_markups import read_markups
from meddistill.data.formats.volume_slices import MaskSlice, grid_of
from meddistill.data.sources.boxes_in_volumes import boxes_on_slices
from meddistill.run.labels import annotated_boxes

nibabel = pytest.importorskip("nibabel")

FIRST, LAST = (4, 6, 1), (10, 9, 3)  # the voxels of the box, half-open
TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
AFFINES = {
    "as stored": np.diag([0.5, 2.0, 3.0, 1.0]),
    "mirrored": np.diag([-0.5, -2.0, 3.0, 1.0]),
    "axes exchanged": np.diag([0.5, 2.0, 3.0, 1.0])[[2, 0, 1, 3]],
    "oblique": np.block([[TURN @ np.diag([0.5, 2.0, 3.0]), np.zeros((3, 1))], [0, 0, 0, 1]]),
}


def roi(centre, size, axes=None, system="LPS", **more):
    """A box as 3D Slicer 5 writes it; centre and axes in RAS."""
    turn = np.diag([-1.0, -1.0, 1.0]) if system == "LPS" else np.eye(3)
    axes = np.eye(3) if axes is None else axes
    return {
        "type": "ROI",
        "coordinateSystem": system,
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "roiType": "Box",
        "center": (turn @ centre).tolist(),
        "orientation": (turn @ axes).ravel().tolist(),
        "size": list(map(float, size)),
        "insideOut": False,
        "controlPoints": [{"id": "1", "label": "R-1", "position": (turn @ centre).tolist()}],
        **more,
    }


def save_markups(path, *markups):
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"@schema": f"{schema}Resources/Schema/markups-schema-v1.0.3.json#"}
    path.write_text(json.dumps(content | {"markups": list(markups)}))


def box_of_voxels(affine, **more):
    """The box around the voxels FIRST to LAST of a volume that lies at `affine`."""
    low, high = np.array(FIRST) - 0.5, np.array(LAST) - 0.5
    centre = affine[:3, :3] @ ((low + high) / 2) + affine[:3, 3]
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    return roi(centre, (high - low) * sides, affine[:3, :3] / sides, **more)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
@pytest.mark.parametrize("stored", AFFINES)
@pytest.mark.parametrize("axis", [0, 2])
def test_a_box_lies_where_a_mask_of_its_voxels_does(tmp_path, stored, system, axis):
    affine = AFFINES[stored] + 0.0
    affine[:3, 3] = 7, -20, 3
    drawn = np.zeros((20, 16, 6), dtype=np.uint8)
    drawn[tuple(slice(a, b) for a, b in zip(FIRST, LAST, strict=True))] = 1
    nibabel.save(nibabel.Nifti1Image(drawn, affine), tmp_path / "m.nii.gz")
    save_markups(tmp_path / "b.mrk.json", box_of_voxels(affine, system=system))
    found = boxes_on_slices(
        read_markups(tmp_path / "b.mrk.json")[0], grid_of(tmp_path / "m.nii.gz"), axis
    )
    masks = [MaskSlice(tmp_path / "m.nii.gz", axis, index) for index in range(6)]
    expected = {n: boxes for n, m in enumerate(masks) if len(boxes := mask_to_boxes(m.load()))}
    assert expected.keys() == {index for index in found if index < 6}
    for index, boxes in expected.items():
        assert found[index][0][0] == pytest.approx(boxes[0], abs=0.01)


def patients(root, affine=AFFINES["mirrored"]):
    for name in ("p01", "p02"):
        (root / name).mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(volume(), affine), root / name / f"{name}.nii.gz")
    return root


def test_boxes_are_the_volume_s_of_their_folder_and_other_slices_unknown(tmp_path, prepare, capsys):
    root = patients(tmp_path / "source")
    save_markups(root / "p01" / "R.mrk.json", box_of_voxels(AFFINES["mirrored"], name="cyst"))
    out, cases, reasons = prepare(root, **ALL_IN_TRAINING)
    boxed = {name: case for name, case in cases.items() if case.annotation == "boxes"}
    assert set(boxed) == {"p01_z1", "p01_z2"}
    assert {case.annotation for name, case in cases.items() if name not in boxed} == {"unknown"}
    assert annotated_boxes(out, boxed["p01_z1"]).tolist() == [[4, 6, 10, 9]]
    assert boxed["p01_z1"].class_name == "cyst"
    assert reasons == {}
    assert "slices that a box meets: 2" in capsys.readouterr().err


def test_somebody_may_have_looked_at_the_other_slices(tmp_path, prepare):
    root = patients(tmp_path / "source")
    save_markups(root / "p01" / "R.mrk.json", box_of_voxels(AFFINES["mirrored"]))
    _, cases, _ = prepare(root, unannotated="none", **ALL_IN_TRAINING)
    assert [case.annotation for case in cases.values()] == [
        *("none", "boxes", "boxes", "none", "none"),
        *["unknown"] * 5,
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not readable JSON"),
        ('{"a": 1}', "holds no markups of 3D Slicer"),
        ('{"markups": [{"type": "ROI", "center": [1, 2]}]}', "markup 1 of R.mrk.json"),
        ('{"markups": [{"type": "ROI", "coordinateUnits": "in"}]}', "expected LPS or RAS in mm"),
        (json.dumps({"markups": [roi(np.array([900.0, 0, 0]), (5, 5, 5))]}), "another patient's"),
    ],
)
def test_a_damaged_file_or_a_box_elsewhere_rejects_its_volume_alone(
    tmp_path, prepare, content, reason
):
    root = patients(tmp_path / "source")
    (root / "p01" / "R.mrk.json").write_text(content)
    save_markups(root / "p02" / "R.mrk.json", box_of_voxels(AFFINES["mirrored"]))
    _, cases, reasons = prepare(root, **ALL_IN_TRAINING)
    assert {name[:3] for name in cases} == {"p02"}
    assert reason in reasons["p01/p01.nii.gz"]


def test_points_have_no_extent(tmp_path):
    save_markups(tmp_path / "F.mrk.json", {"type": "Fiducial", "controlPoints": []})
    boxes, notes = read_markups(tmp_path / "F.mrk.json")
    assert (boxes, notes) == ([], {"markups without an extent are left out (Fiducial)": 1})


def test_a_volume_without_a_place_takes_no_box(tmp_path):
    from meddistill.data.formats.volume import Grid

    with pytest.raises(InputError, match="does not say where it lies"):
        boxes_on_slices([], Grid((4, 4, 4), None), 2)
