"""`prepare.spacing_mm`: scanners with other pixels, from RUN/data to masks on the source's grid."""

import dataclasses
import json

import nibabel
import numpy as np
import pytest
from support.evaluation_data import finish

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError
from meddistill.data.formats.pictures import load_picture, write_png
from meddistill.evaluation.request import FolderRequest
from meddistill.evaluation.volumes import VolumeRow
from meddistill.run.grid_file import read_grid
from meddistill.run.labels import annotated_boxes
from meddistill.run.layout import PER_VOLUME_CSV, RunDir
from meddistill.run.tables import Rejected, read_cases
from meddistill.run.true_masks import mask_path
from meddistill.settings.evaluate import EvalConfig
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.evaluate import run_eval, run_eval_folders
from meddistill.stages.export import run_export
from meddistill.stages.label import LabelRequest, run_label
from meddistill.stages.predict import run_predict
from meddistill.stages.prepare import run_prepare
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.student import load_student, save_student
from meddistill.training.fitting import preparation_of

FIELD_MM = 48.0
BODY_MM = (12.0, 30.0)
"""From, to, in both directions: the same in every volume."""
SHOWN_MM = (FIELD_MM - BODY_MM[1], FIELD_MM - BODY_MM[0])
"""The same in a slice, whose rows and columns run the other way."""
SIDES = {"a": 1.0, "b": 1.5, "c": 2.0, "d": 1.5}


def write_volume(root, name, side_mm, slices=4):
    count = round(FIELD_MM / side_mm)
    middles = (np.arange(count) + 0.5) * side_mm
    inside = (middles > BODY_MM[0]) & (middles < BODY_MM[1])
    mask = np.zeros((count, count, slices), np.uint8)
    mask[..., 1:3] = (inside[:, None] & inside[None])[..., None]
    voxels = np.where(mask, 220, 30).astype(np.uint8)
    voxels[0, 0], voxels[0, 1] = 0, 255
    for folder, data in (("imagesTr", voxels), ("labelsTr", mask)):
        path = root / folder / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        affine = np.diag([side_mm, side_mm, 3.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(data, affine), path)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp("spacing")
    for name, side_mm in SIDES.items():
        write_volume(root, name, side_mm)
    return root


def config_of(source, **settings):
    return PrepareConfig(
        source=str(source),
        **{"test_fraction": 0.25, "val_fraction": 0.0, "spacing_mm": "auto", **settings},
    )


@pytest.fixture(scope="module")
def run(source, tmp_path_factory):
    run = RunDir(tmp_path_factory.mktemp("runs") / "mixed")
    run_prepare(run, config_of(source), seed=0)
    return run


def test_bodies_of_one_size_are_of_one_size_whatever_the_scanner(run):
    cases = read_cases(run.data)
    training = {case.volume for case in cases if case.split == "train"}
    sides = [SIDES[name] for volume in training for name in SIDES if f"{name}.nii" in volume]
    grid = read_grid(run.data)
    assert grid.spacing_mm == np.median(sides)
    assert grid.side_px == round(FIELD_MM / grid.spacing_mm)
    assert {(case.height, case.width) for case in cases} == {(grid.side_px, grid.side_px)}
    assert all(abs(side / grid.spacing_mm - 1) < 0.05 for c in cases for side in c.spacing_hw_mm)
    boxed = [case for case in cases if case.annotation == "boxes"]
    assert len(boxed) == 8
    for case in boxed:
        (box,) = annotated_boxes(run.data, case)
        assert box * grid.spacing_mm == pytest.approx(
            [*SHOWN_MM[:1] * 2, *SHOWN_MM[1:] * 2], abs=1.1
        )
        mask = load_picture(mask_path(run.data, case)) > 0
        assert mask.sum() * grid.spacing_mm**2 == pytest.approx(18**2, rel=0.18)
    record = json.loads((run.data / "run.json").read_text())
    assert record["results"]["grid"] == {"spacing_mm": grid.spacing_mm, "side_px": grid.side_px}
    assert preparation_of(run.data).grid == grid


def test_an_update_leaves_the_grid_and_what_lies_on_it(run, source, tmp_path):
    own = RunDir(tmp_path / "run")
    more = tmp_path / "source"
    for name in ("a", "b", "c"):
        write_volume(more, name, SIDES[name])
    run_prepare(own, config_of(more), seed=0)
    before = {case.case_id: case for case in read_cases(own.data)}
    grid = read_grid(own.data)
    write_volume(more, "e", 0.5)
    run_prepare(own, config_of(more), seed=0, update=True)
    after = {case.case_id: case for case in read_cases(own.data)}
    assert read_grid(own.data) == grid
    assert len(after) == len(before) + 4
    assert {name: after[name] for name in before} == before


def test_images_without_a_spacing_are_left_out_with_a_reason(source, tmp_path):
    pictures = tmp_path / "pictures"
    for number in range(3):
        for folder in ("images", "masks"):
            image = np.zeros((16, 16), np.uint8)
            image[4:9, 4:9] = 255
            write_png(pictures / folder / f"{number}.png", image)
    with pytest.raises(InputError, match="has no pixel spacing, which"):
        run_prepare(RunDir(tmp_path / "none"), config_of(pictures), seed=0)
    with pytest.raises(InputError, match=r"--strict: images/0.png: has no pixel spacing"):
        run_prepare(RunDir(tmp_path / "none"), config_of(pictures, strict=True), seed=0)
    table = pictures / "cases.csv"
    lines = [f"images/{n}.png,masks/{n}.png,g{n},{'1.0,1.0' if n else ''}" for n in range(3)]
    lines = [line.replace("1.0,1.0", '"1.0,1.0"') for line in lines]
    table.write_text("\n".join(["image,mask,group,spacing", *lines]) + "\n")
    some = RunDir(tmp_path / "some")
    run_prepare(some, config_of(pictures, table=str(table), spacing_mm="0.5"), seed=0)
    assert [case.width for case in read_cases(some.data)] == [32, 32]
    (rejected,) = read_table(some.data / "rejected.csv", Rejected)
    assert "column `spacing`" in rejected.reason


@pytest.mark.parametrize("wrong", ["off", "0", "-1", "nan", "inf"])
def test_a_spacing_is_a_length(wrong):
    with pytest.raises(ConfigError, match="spacing_mm must be a length above 0 in mm, auto"):
        PrepareConfig(spacing_mm=wrong)


def test_boxes_are_drawn_on_the_pixels_of_the_source(run, tmp_path):
    with pytest.raises(ConfigError, match="boxes are drawn on the pixels of the source"):
        run_label(run, LabelRequest(teacher="none"))


class BrightIsLesion:
    """A student with the grid of a RUN that says how bright a pixel is; `shown`: what it was given."""

    def __init__(self, preprocessing):
        self.preprocessing = preprocessing
        self.shown = []

    def predict_probs(self, images, batch_size=16):
        self.shown += images
        return [image.reshape(*image.shape[:2], -1)[..., 0] / np.float32(255) for image in images]


def test_masks_come_back_on_the_grid_of_the_source(run, source, tmp_path):
    student = BrightIsLesion(preparation_of(run.data))
    write_png(tmp_path / "flat.png", np.full((9, 9), 7, np.uint8) * np.eye(9, dtype=np.uint8))
    paths = [str(source / "imagesTr"), str(tmp_path / "flat.png")]
    with pytest.raises(InputError, match=r"flat.png has no pixel spacing, and this student sees"):
        run_predict(tmp_path / "no", paths, tmp_path / "out", predictor=student)
    side = student.preprocessing.grid.side_px
    assert {image.shape[:2] for image in student.shown} == {(side, side)}
    for name in SIDES:
        found = nibabel.load(tmp_path / "out" / "masks" / f"{name}.nii.gz")
        truth = nibabel.load(source / "labelsTr" / f"{name}.nii.gz")
        np.testing.assert_allclose(found.affine, truth.affine)
        pair = [np.asarray(each.dataobj) > 0 for each in (found, truth)]
        pair[0][0] = False  # a corner that is bright for the window's sake
        assert pair[0].shape == pair[1].shape
        assert 2 * (pair[0] & pair[1]).sum() / sum(each.sum() for each in pair) > 0.9


def test_eval_judges_data_of_any_spacing_on_its_own_pixels(run, source, tmp_path):
    plain = RunDir(tmp_path / "plain")
    run_prepare(plain, config_of(source, spacing_mm="", test_fraction=0.5), seed=0)
    plain.student.mkdir()
    finish(plain.student, "distill")
    student = BrightIsLesion(preparation_of(run.data))
    config = EvalConfig(gallery_cases=1, baselines=False)
    out = run_eval(plain, config, seed=0, predictor=student)
    rows = read_table(out / PER_VOLUME_CSV, VolumeRow)
    assert len(rows) == 2
    assert min(row.dice for row in rows) > 0.85
    for folder in ("images", "masks"):
        write_png(tmp_path / folder / "a.png", np.eye(9, dtype=np.uint8) * 255)
    folders = FolderRequest(tmp_path / "images", tmp_path / "masks", plain.student, tmp_path / "e")
    with pytest.raises(InputError, match="has no pixel spacing, and this student sees"):
        run_eval_folders(folders, config, seed=0, predictor=student)


def test_the_student_carries_the_grid_everywhere(run, tmp_path):
    stored = dataclasses.replace(preparation_of(run.data), image_size=32)
    directory = run.root / "student-tiny"
    save_student(directory, NestedUNet([4, 6]), stored)
    student = load_student(directory)
    assert student.preprocessing.grid == stored.grid
    image = np.random.default_rng(0).integers(0, 255, (30, 20), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"pass spacing_hw_mm=\(row, column\)"):
        student.predict(image)
    given = student.predict(image, spacing_hw_mm=(1.0, 2.0))
    assert given.mask.shape == given.probs.shape == (30, 20)
    on_grid = student.predict_probs([stored.grid.put(image, (1.0, 2.0))])[0]
    np.testing.assert_array_equal(given.probs, stored.grid.back(on_grid, (30, 20), (1.0, 2.0)))
    pytest.importorskip("onnxruntime")
    run_export(directory, file_format="onnx")
    facts = json.loads((directory / "student.onnx.json").read_text())
    assert float(facts["spacing_mm"]) == stored.grid.spacing_mm
    assert int(facts["grid_side_px"]) == stored.grid.side_px
    assert (
        f"It sees pixels of {stored.grid.spacing_mm:g} mm" in (directory / "README.md").read_text()
    )
