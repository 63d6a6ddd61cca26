"""The study of volumes at toy size: cells are kept as they end, and told in a table."""

import dataclasses
import json
import re
import sys

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher
from support.script_module import load_script
from support.small_volumes import write_volumes

from meddistill.base.errors import ConfigError
from meddistill.data.formats.pictures import write_png
from meddistill.data.masks import read_mask
from meddistill.run.tables import read_cases
from meddistill.run.true_masks import mask_path

TOY = (
    "prepare.workers=1",
    "distill.student=nested_unet",
    "distill.image_size=32",
    "distill.encoder_weights=none",
    "distill.epochs=1",
    "distill.colearning.steps=2",
    "distill.targets.jitter_copies=1",
)


@pytest.fixture(scope="module")
def script():
    module = load_script("studies/volumes")
    sets = sys.modules["_volume_sets"]
    label = ("prepare.label=1",)
    module.SETS["toy"] = sets.StudySet(2, 1, 4, label)
    module.SETS["mixed"] = sets.StudySet(2, 1, 4, label, fields=((0.5, 1.0), (0.5, 0.6)))
    return module


@pytest.fixture(scope="module")
def study(script, tmp_path_factory):
    root = tmp_path_factory.mktemp("volumes")
    write_volumes(root / "source", count=4)
    _end_in_a_speck(root / "source" / "labelsTr" / "body_00.nii.gz")
    made = script.Study(
        "toy", root / "source", root / "work", root / "cells", TOY, PaintingTeacher()
    )
    for cell in script.cells_of("toy", "all,every-4,one", [0]):
        made.run(cell)
    return made


def _end_in_a_speck(path):
    """As people draw the last slice of a body: a voxel or two, which are a box like all others."""
    nibabel = pytest.importorskip("nibabel")
    drawn = nibabel.load(path)
    voxels = np.asarray(drawn.dataobj).copy()
    voxels[15:17, 15, 2] = 1
    nibabel.save(nibabel.Nifti1Image(voxels, drawn.affine), path)


def test_each_cell_tells_what_it_gave(study):
    cells = {path.stem: json.loads(path.read_text()) for path in study.out.iterdir()}
    assert cells.keys() == {f"toy-{arm}-0" for arm in ("all", "every-4", "one")}
    for cell in cells.values():
        assert len(cell["dice"]) == len(cell["volumes"]) == 1
        assert 0 <= cell["dice_mean"] <= 1
    assert [cells[f"toy-{arm}-0"]["boxed_slices"] for arm in ("all", "every-4", "one")] == [
        13,
        4,
        2,
    ]
    carried = cells["toy-every-4-0"]["carried"]["by_distance"]
    assert carried.keys() <= {"1", "2", "3"}
    assert sum(part["slices"] + part["beyond"] for part in carried.values()) > 4
    assert cells["toy-all-0"]["carried"]["by_distance"] == {}


def test_what_is_there_is_not_run_again_and_makes_a_table(script, study, monkeypatch, capsys):
    monkeypatch.setattr(script, "run_distill", None)
    study.run(script.Cell("toy", "one", 0))
    assert "other settings" not in capsys.readouterr().err
    other = dataclasses.replace(study, overrides=(*study.overrides, "distill.lr=0.5"))
    other.run(script.Cell("toy", "one", 0))
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(r"\.json is there, made with other settings \(lr \S+, asked for 0\.5\)", told)
    told = script.table_of(study.out).splitlines()
    assert len(told) == 5
    assert told[2].startswith("| toy | all | 1 | 13 of 24 |")


def test_other_scanners_are_drawn_and_judged_on_their_own_pixels(script, tmp_path):
    source = tmp_path / "source"
    rows = ["id,patient,volume,slice,split"]
    for patient in range(3):
        for number in range(3):
            image, label = np.full((32, 32), 40, np.uint8), np.zeros((32, 32), np.uint8)
            label[10:20, 12:22] = 1
            image[label > 0] = 200
            image[0, patient] = 255
            name = f"p{patient}_{number}"
            write_png(source / "images" / f"{name}.png", image)
            write_png(source / "labels" / f"{name}.png", label)
            rows.append(
                f"{name},p{patient},p{patient},{number},{'val' if patient == 2 else 'train'}"
            )
    (source / "groups.csv").write_text("\n".join(rows) + "\n")
    folders = (source, tmp_path / "work", tmp_path / "cells")
    study = script.Study("mixed", *folders, TOY, PaintingTeacher())
    for cell in script.cells_of("mixed", "all,all-grid", [0]):
        study.run(cell)
    plain, grid = (
        read_cases(tmp_path / "work" / f"mixed-{arm}" / "data") for arm in ("all", "all-grid")
    )
    assert len({case.spacing_mm for case in plain}) == 3
    for case, other in zip(plain, grid, strict=True):
        assert case.width == 32
        areas = [
            read_mask(mask_path(tmp_path / "work" / f"mixed-{arm}" / "data", each)).sum()
            * np.prod(each.spacing_hw_mm)
            for arm, each in (("all", case), ("all-grid", other))
        ]
        assert areas == pytest.approx([100 * 1.4**2] * 2, rel=0.25)
    told = [
        json.loads((tmp_path / "cells" / f"mixed-{arm}-0.json").read_text())
        for arm in ("all", "all-grid")
    ]
    assert told[0]["volumes"] == told[1]["volumes"]
    assert told[0]["hd95_mm"][0] is not None


def test_an_arm_that_is_not_known_is_refused(script):
    with pytest.raises(ConfigError, match="arm 'each-5' is not known"):
        script.cells_of("toy", "all,each-5", [0])
