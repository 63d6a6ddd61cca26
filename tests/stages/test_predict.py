"""`meddistill predict`: which files it takes, what it writes, and that one bad file does not stop
the others."""

import csv
import fcntl
import json
import os
import re

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError, MedDistillError, StageError
from meddistill.cli.app import app
from meddistill.data.findings import PALETTE, Findings
from meddistill.data.frames import Preprocessing
from meddistill.data.intensity import IntensitySettings
from meddistill.data.scans import find_scans, scan_name
from meddistill.run import lock
from meddistill.run.layout import RunDir
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages import predict
from meddistill.stages.predict import run_predict
from meddistill.stages.prepare import run_prepare
from meddistill.student.networks.nested_unet import NestedUNet
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.predictions_table import PredictionRow
from meddistill.student.student import Student, load_student, save_student
from meddistill.training.fitting import preparation_of


class BrightIsLesion:
    """A student that says of each pixel how bright it is."""

    preprocessing = Preprocessing(threshold=0.5)

    def predict_probs(self, images, batch_size=16):
        return [
            (image if image.ndim == 2 else image[..., 0]).astype(np.float32) / 255
            for image in images
        ]


def write_squares(path, size=(20, 30), corners=((2, 3),), side=4, value=200):
    """A dark picture with bright squares, their top left corners at `corners` (row, column)."""
    pixels = np.full(size, 10, np.uint8)
    for row, column in corners:
        pixels[row : row + side, column : column + side] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return pixels


def run(paths, out, overwrite=False, **options):
    return run_predict(
        out / "no-student",
        [str(path) for path in paths],
        out,
        PredictOptions(**options),
        overwrite=overwrite,
        predictor=BrightIsLesion(),
    )


def mask_of(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def rows_of(out):
    return {row.name: row for row in read_table(out / "predictions.csv", PredictionRow)}


def test_known_squares_give_known_masks_and_rows(tmp_path):
    pixels = write_squares(tmp_path / "in" / "two.png", corners=[(2, 3), (10, 20)])
    write_squares(tmp_path / "in" / "none.png", corners=[(2, 3)], value=51)
    out = run([tmp_path / "in"], tmp_path / "out")
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "masks/none.png",
        "masks/two.png",
        "predicted.jsonl",
        "predictions.csv",
        "run.json",
    ]
    np.testing.assert_array_equal(
        mask_of(out / "masks" / "two.png"), np.where(pixels > 100, 255, 0)
    )
    rows = rows_of(out)
    two, none = rows["two"], rows["none"]
    assert (two.width, two.height, two.area_px, two.components, two.slice) == (30, 20, 32, 2, None)
    assert two.area_mm2 is None
    assert two.confidence == pytest.approx(200 / 255, abs=1e-4)
    assert two.mask == "masks/two.png"
    assert (none.area_px, none.components) == (0, 0)
    assert none.confidence == pytest.approx(1 - 51 / 255, abs=1e-4)


def test_probabilities_and_overlays_are_written_when_asked(tmp_path):
    pixels = write_squares(tmp_path / "a.png")
    out = run([tmp_path / "a.png"], tmp_path / "out", probabilities=True, overlays=True)
    probs = mask_of(out / "probabilities" / "a.png")
    assert probs.dtype == np.uint16
    np.testing.assert_array_equal(probs, np.rint(pixels.astype(np.float32) / 255 * 65535))
    overlay = mask_of(out / "overlays" / "a.png")
    assert overlay.shape == (20, 30, 3)
    changed = (overlay != pixels[..., None]).any(axis=2)
    np.testing.assert_array_equal(changed, pixels > 100)


@pytest.mark.parametrize(("threshold", "area"), [(0.9, 0), (0.5, 16), (0.01, 600)])
def test_threshold_is_where_lesion_begins(tmp_path, threshold, area):
    write_squares(tmp_path / "a.png")
    out = run([tmp_path / "a.png"], tmp_path / "out", threshold=threshold)
    assert rows_of(out)["a"].area_px == area


def test_sixteen_bit_tiff_and_jpeg_are_read(tmp_path):
    pixels = write_squares(tmp_path / "eight.jpg", size=(64, 64), corners=[(16, 16)], side=16)
    assert cv2.imwrite(str(tmp_path / "sixteen.tif"), pixels.astype(np.uint16) * 200)
    rows = rows_of(run([tmp_path / "*.jpg", tmp_path / "sixteen.tif"], tmp_path / "out"))
    assert rows["sixteen"].area_px == 256
    assert rows["eight"].area_px == pytest.approx(256, abs=20)


def test_bad_files_are_named_and_the_rest_is_done(tmp_path, capfd):
    write_squares(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "in" / "empty.jpg").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "in" / "flat.png"), np.full((8, 8), 7, np.uint8))
    with pytest.raises(InputError, match=r"4 input\(s\) could not be predicted, 1 file\(s\) were"):
        run([tmp_path / "in", tmp_path / "gone.png"], tmp_path / "out")
    said = capfd.readouterr().err
    assert all(name in said for name in ("broken.png", "empty.jpg", "flat.png", "gone.png"))
    assert list(rows_of(tmp_path / "out")) == ["good"]
    assert not (tmp_path / "out" / "run.json").exists()


def test_equal_and_hostile_names_stay_apart_and_inside(tmp_path):
    for index, name in enumerate(
        ["a/x.png", "b/x.png", "b/X.jpg", "b/..png", 'b/<img src=q>;".png', "b/-rf.png"]
    ):
        write_squares(tmp_path / name, corners=[(index, index)])
    # A hidden file is left out of a folder, yet taken by its name.
    out = run([tmp_path / "a", tmp_path / "b", tmp_path / "b" / "..png"], tmp_path / "out")
    masks = sorted(path.name for path in (out / "masks").iterdir())
    assert len({name.lower() for name in masks}) == 6
    assert all(name[0].isalnum() or name[0] == "_" for name in masks)
    assert not any(character in "".join(masks) for character in "<>;\"'")
    assert len(rows_of(out)) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "out"]


def test_a_name_that_is_no_utf8_has_a_row(tmp_path):
    # As an archive of another system unpacks.
    write_squares(tmp_path / "in" / "plain.png")
    os.rename(tmp_path / "in" / "plain.png", os.fsencode(tmp_path / "in") + b"/L\xe4sion.png")
    out = run([tmp_path / "in"], tmp_path / "out", review_sheet=True)
    (row,) = read_table(out / "predictions.csv", PredictionRow)
    assert row.source == f"{tmp_path / 'in'}/L\\udce4sion.png"
    assert (out / row.mask).is_file()
    assert (out / "run.json").is_file()


def test_masks_are_called_as_their_images(tmp_path):
    names = ["benign (10)", "Größe 3 мм", "a b", "a_b", "scan@2"]
    for name in names:
        write_squares(tmp_path / "in" / f"{name}.png")
    run([tmp_path / "in"], tmp_path / "out")
    written = {path.stem for path in (tmp_path / "out/masks").iterdir()}
    assert written == {*names[:-1], "scan_2"}  # an @ counts slices
    assert set(rows_of(tmp_path / "out")) == written


def test_a_prediction_that_was_begun_goes_on_under_its_names(tmp_path, monkeypatch):
    for name in ("benign (1)", "benign (2)"):
        write_squares(tmp_path / "in" / f"{name}.png")
    with monkeypatch.context() as patch:
        patch.setattr(predict, "file_names", predict.unique_names)
        run([tmp_path / "in" / "benign (1).png"], tmp_path / "out")
    run([tmp_path / "in"], tmp_path / "out")
    written = {path.name for path in (tmp_path / "out/masks").iterdir()}
    assert written == {"benign_1.png", "benign_2.png"}


def test_findings_that_may_overlap_have_a_mask_and_a_row_each(tmp_path):
    class Nested(BrightIsLesion):
        """Two findings, the second inside the first."""

        preprocessing = Preprocessing(
            findings=Findings(("whole", "core/1"), exclusive=False), thresholds=(0.5, 0.9)
        )

        def predict_probs(self, images, batch_size=16):
            return [np.stack([probs, probs]) for probs in super().predict_probs(images)]

    pixels = write_squares(tmp_path / "in" / "a.png", size=(40, 60), side=8)
    pixels[4:6, 5:9] = 250
    cv2.imwrite(str(tmp_path / "in" / "a.png"), pixels)
    out = run_predict(
        tmp_path / "none",
        [str(tmp_path / "in")],
        tmp_path / "out",
        PredictOptions(overlays=True),
        predictor=Nested(),
    )
    rows = read_table(out / "predictions.csv", PredictionRow)
    told = [(row.finding, row.mask, row.area_px) for row in rows]
    assert told == [("whole", "masks/whole/a.png", 64), ("core/1", "masks/core_1/a.png", 8)]
    for row, cut in zip(rows, (0.5, 0.9), strict=True):
        assert (mask_of(out / row.mask) == np.where(pixels >= cut * 255, 255, 0)).all()
    overlay = cv2.imread(str(out / "overlays" / "a.png"))
    assert overlay.shape[0] > pixels.shape[0]  # a legend below
    assert (overlay[pixels.shape[0] :] == PALETTE[0][::-1]).all(axis=2).any()


def test_a_file_named_twice_is_predicted_once(tmp_path):
    write_squares(tmp_path / "a.png")
    os.symlink(tmp_path / "a.png", tmp_path / "link.png")
    files, problems = find_scans([str(tmp_path / "a.png"), str(tmp_path), str(tmp_path / "*.png")])
    assert files == [tmp_path / "a.png"]
    assert problems == []


def test_a_folder_means_its_images_and_nothing_else(tmp_path):
    for name in ("b/2.png", "a/1.JPG", ".hidden/3.png", "a/.4.png"):
        write_squares(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert find_scans([str(tmp_path)])[0] == [tmp_path / "a/1.JPG", tmp_path / "b/2.png"]


def test_what_means_no_file_is_said(tmp_path):
    (tmp_path / "empty").mkdir()
    files, problems = find_scans(
        [str(tmp_path / "empty"), str(tmp_path / "*.png"), str(tmp_path / "x.png")]
    )
    assert files == []
    for problem, reason in zip(
        problems, ("holds no image", "fits no file", "does not exist"), strict=True
    ):
        assert reason in problem
    with pytest.raises(InputError, match=r"nothing to predict: .*holds no image"):
        run([tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_lose_their_format(tmp_path):
    assert scan_name(tmp_path / "scan.01.PNG") == "scan.01"
    assert scan_name(tmp_path / "head.nii.gz") == "head"


def test_results_do_not_depend_on_the_batch(tmp_path):
    for index in range(5):
        write_squares(tmp_path / "in" / f"{index}.png", size=(20 + index, 30), corners=[(index, 2)])
    for batch_size in (1, 2, 16):
        run([tmp_path / "in"], tmp_path / f"out{batch_size}", batch_size=batch_size)
    tables = [
        (tmp_path / f"out{batch_size}" / "predictions.csv").read_text() for batch_size in (1, 2, 16)
    ]
    assert tables[0] == tables[1] == tables[2]
    assert len(tables[0].splitlines()) == 6


def test_a_second_run_is_up_to_date_and_another_threshold_asks(tmp_path, capfd):
    write_squares(tmp_path / "a.png")
    run([tmp_path / "a.png"], tmp_path / "out")
    before = (tmp_path / "out" / "run.json").read_text()
    run([tmp_path / "a.png"], tmp_path / "out")
    assert "up to date" in capfd.readouterr().err
    assert (tmp_path / "out" / "run.json").read_text() == before
    with pytest.raises(StageError, match=r"threshold was null, now 0\.9.*--overwrite"):
        run([tmp_path / "a.png"], tmp_path / "out", threshold=0.9)
    run([tmp_path / "a.png"], tmp_path / "out", threshold=0.9, overwrite=True)
    assert rows_of(tmp_path / "out")["a"].area_px == 0


def test_what_another_process_did_meanwhile_is_not_done_again(tmp_path, monkeypatch, capfd):
    for name in "ab":
        write_squares(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"

    def load(*_):  # while one loads its student, the other comes and goes
        run([tmp_path / "in"], out)
        return None

    monkeypatch.setattr(predict, "_load", load)
    run_predict(out / "no-student", [str(tmp_path / "in")], out)
    assert "up to date" in capfd.readouterr().err
    assert len((out / "predicted.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("resume", [True, False])
def test_what_another_process_is_writing_stays(tmp_path, resume):
    for name in "ab":
        write_squares(tmp_path / "in" / f"{name}.png")
    out = run([tmp_path / "in"], tmp_path / "out")
    (out / "masks" / "a.png").unlink()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with lock.lock_path(out).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StageError, match="out is being written by process"):
            run([tmp_path / "in"], out, resume=resume)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_somebody_elses_folder_is_left_alone(tmp_path):
    write_squares(tmp_path / "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(StageError, match="is not empty"):
        run([tmp_path / "a.png"], tmp_path / "out")
    with pytest.raises(StageError, match="will not delete"):
        run([tmp_path / "a.png"], tmp_path / "out", overwrite=True)


def test_a_student_that_is_none_begins_and_removes_nothing(tmp_path):
    write_squares(tmp_path / "a.png")
    images, nobody = [str(tmp_path / "a.png")], tmp_path / "nobody"
    with pytest.raises(InputError, match="is not a student"):
        run_predict(nobody, images, tmp_path / "new", device="cpu")
    assert not (tmp_path / "new").exists()
    out = run([tmp_path / "a.png"], tmp_path / "out")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="is not a student"):
        run_predict(nobody, images, out, device="cpu", overwrite=True)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_an_output_that_cannot_be_written_is_one_line(tmp_path):
    write_squares(tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(MedDistillError, match=r"file/out cannot be written"):
        run([tmp_path / "a.png"], tmp_path / "file" / "out")


def test_a_threshold_outside_0_to_1_is_refused(tmp_path):
    write_squares(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"threshold must lie in \[0, 1\], got 128"):
        run([tmp_path / "a.png"], tmp_path / "out", threshold=128)


def test_the_command_agrees_with_the_library(tmp_path):
    save_student(tmp_path / "student", NestedUNet([4, 6, 8]), Preprocessing(image_size=32))
    pixels = write_squares(tmp_path / "a.png")
    arguments = [
        "predict",
        str(tmp_path / "student"),
        str(tmp_path / "a.png"),
        "--out",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu", "--probabilities"])
    assert result.exit_code == 0, result.output
    student = load_student(tmp_path / "student")
    assert isinstance(student, Student)
    prediction = student.predict(pixels)
    np.testing.assert_array_equal(mask_of(tmp_path / "out" / "masks" / "a.png"), prediction.mask)
    probs = mask_of(tmp_path / "out" / "probabilities" / "a.png") / 65535
    np.testing.assert_allclose(probs, prediction.probs, atol=1e-4)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        assert next(csv.reader(file))[:3] == ["name", "source", "slice"]


def test_a_directory_that_is_no_student_is_refused(tmp_path):
    write_squares(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"is not a student: it has no config\.json"):
        run_predict(tmp_path, [str(tmp_path / "a.png")], tmp_path / "out")


def nifti_of(path, bright, orientation="RAS", spacing=(0.5, 2.0, 3.0)):
    """A volume of 12 x 10 x 4 mm-scaled voxels stored in `orientation`, with `bright` (x, y, z in
    RAS) at 200."""
    nibabel = pytest.importorskip("nibabel")
    voxels = np.random.default_rng(0).integers(0, 30, (12, 10, 4)).astype(np.int16)
    voxels[0, 0, :], voxels[0, 1, :] = 0, 255  # percentiles of the volume
    voxels[bright] = 255
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-40, 5, 7)
    image = nibabel.Nifti1Image(voxels, affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(affine), nibabel.orientations.axcodes2ornt(orientation)
    )
    nibabel.save(image.as_reoriented(turn), path)
    return nibabel.load(path)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "SAL"])
def test_a_volume_gives_a_mask_that_lies_where_it_does(tmp_path, orientation):
    nibabel = pytest.importorskip("nibabel")
    bright = np.s_[3:6, 2:4, 1]
    source = nifti_of(tmp_path / "head.nii.gz", bright, orientation)
    out = run([tmp_path / "head.nii.gz"], tmp_path / "out", probabilities=True, overlays=True)
    mask = nibabel.load(out / "masks" / "head.nii.gz")
    assert mask.shape == source.shape
    np.testing.assert_allclose(mask.affine, source.affine)
    assert mask.header["sform_code"] == source.header["sform_code"]
    np.testing.assert_array_equal(
        np.asarray(mask.dataobj), np.where(np.asarray(source.dataobj) > 100, 255, 0)
    )
    probs = nibabel.load(out / "probabilities" / "head.nii.gz")
    assert probs.get_data_dtype() == np.float32
    rows = read_table(out / "predictions.csv", PredictionRow)
    assert [row.slice for row in rows] == [0, 1, 2, 3]
    assert rows[1].area_px - rows[0].area_px == 6
    assert rows[1].area_mm2 == pytest.approx(rows[1].area_px * 0.5 * 2.0)
    assert rows[1].mask == "masks/head.nii.gz"
    assert (out / "overlays" / "head@0001.png").is_file()


def test_a_dicom_file_without_a_suffix_is_found_and_its_millimetres_known(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = tmp_path / "in" / "IM0001"
    pixels = write_squares(tmp_path / "in" / "a.png")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = pydicom.uid.generate_uid()
    data.Rows, data.Columns, data.PixelSpacing = 20, 30, [0.5, 0.25]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    data.PixelData = (pixels.astype(np.uint16) * 10).tobytes()
    data.save_as(path, enforce_file_format=True)
    row = rows_of(run([tmp_path / "in"], tmp_path / "out"))["IM0001"]
    assert (row.slice, row.area_px, row.area_mm2) == (None, 16, 2.0)


def test_a_damaged_volume_is_named(tmp_path, capfd):
    write_squares(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.nii.gz").write_bytes(b"no gzip")
    (tmp_path / "in" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICMrest")
    with pytest.raises(InputError, match=r"2 input\(s\) could not be predicted, 1 file\(s\) were"):
        run([tmp_path / "in"], tmp_path / "out")
    said = capfd.readouterr().err
    assert "bad.nii.gz" in said
    assert "bad.dcm" in said


def test_values_become_8_bit_as_they_did_for_training(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 48)).astype(np.uint16)
    for folder in ("images", "masks"):
        (tmp_path / "source" / folder).mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "source" / "images" / "a.png"), pixels)
    cv2.imwrite(
        str(tmp_path / "source" / "masks" / "a.png"), ((pixels > 3000) * 255).astype(np.uint8)
    )
    data = run_prepare(
        RunDir(tmp_path / "run"),
        PrepareConfig(
            source=str(tmp_path / "source"), dataset="folder", window="1000,600", test="", val=""
        ),
        seed=0,
    )
    prepared = cv2.imread(str(next((data / "images").rglob("*.png"))), cv2.IMREAD_UNCHANGED)
    preprocessing = Preprocessing(image_size=32, intensity=preparation_of(data).intensity)
    save_student(tmp_path / "student", NestedUNet([4, 6, 8]), preprocessing)
    student = load_student(tmp_path / "student")
    assert student.preprocessing.intensity.window == (700, 1300)
    seen = []
    student.predict_probs = lambda images, batch_size=16: [
        seen.append(image) or np.zeros(image.shape[:2], np.float32) for image in images
    ]
    run_predict(
        tmp_path / "student",
        [str(tmp_path / "source" / "images")],
        tmp_path / "out",
        predictor=student,
    )
    np.testing.assert_array_equal(seen[0], prepared)


def test_students_of_earlier_versions_have_the_default_intensity(tmp_path):
    save_student(tmp_path, NestedUNet([4, 6, 8]), Preprocessing(image_size=32))
    stored = json.loads((tmp_path / "preprocessing.json").read_text())
    del stored["intensity"]
    (tmp_path / "preprocessing.json").write_text(json.dumps(stored))
    assert load_student(tmp_path).preprocessing.intensity == IntensitySettings(
        scanner_8bit="stretched"
    )
    (tmp_path / "preprocessing.json").write_text(
        json.dumps(stored | {"intensity": {"window": [5, 1]}})
    )
    with pytest.raises(InputError, match="window of intensity"):
        load_student(tmp_path)


@pytest.mark.parametrize("shards", [("",), ("1/2", "2/2")])
def test_masks_of_images_that_were_renamed_are_told(tmp_path, capfd, shards):
    for name in "abc":
        write_squares(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    for shard in shards:
        run([tmp_path / "in"], out, shard=shard, overlays=True)
    assert "earlier prediction" not in capfd.readouterr().err
    (tmp_path / "in" / "b.png").rename(tmp_path / "in" / "d.png")
    for shard in shards:
        run([tmp_path / "in"], out, shard=shard, overlays=True)
    told = r"2 file\(s\) in .*out are of an earlier prediction.*first: masks/b.png.*--overwrite"
    assert re.search(told, capfd.readouterr().err)
    assert set(rows_of(out)) == {"a", "c", "d"}
    assert (out / "masks" / "b.png").is_file()
    if shards == ("",):
        run([tmp_path / "in"], out, overlays=True)
        assert re.search(told, capfd.readouterr().err)


def test_what_a_file_browser_leaves_among_masks_is_no_mask(tmp_path, capfd):
    write_squares(tmp_path / "in" / "a.png")
    out = run([tmp_path / "in"], tmp_path / "out")
    for name in (".DS_Store", "._a.png", "Thumbs.db"):
        (out / "masks" / name).write_text("of a file browser")
    run([tmp_path / "in"], out)
    assert "earlier prediction" not in capfd.readouterr().err


def test_the_mask_of_an_image_that_broke_since_is_told(tmp_path, capfd):
    for name in "ab":
        write_squares(tmp_path / "in" / f"{name}.png")
    out = run([tmp_path / "in"], tmp_path / "out")
    (tmp_path / "in" / "b.png").write_text("no image")
    with pytest.raises(InputError, match=r"1 input\(s\) could not be predicted"):
        run([tmp_path / "in"], out)
    assert "first: masks/b.png" in capfd.readouterr().err


def test_a_share_does_not_tell_of_an_image_that_was_replaced_by_none(tmp_path, capfd):
    for name in "ab":
        write_squares(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    for shard in ("1/2", "2/2"):
        run([tmp_path / "in"], out, shard=shard)
    (tmp_path / "in" / "b.png").write_text("no image")
    for shard in ("1/2", "2/2"):
        run([tmp_path / "in"], out, shard=shard, skip_broken=True)
    assert set(rows_of(out)) == {"a"}
    assert "first: masks/b.png" in capfd.readouterr().err


@pytest.mark.parametrize("second", ["one", "two"])
def test_shares_of_machines_with_copies_of_the_images_are_all_in_the_table(tmp_path, capfd, second):
    out = tmp_path / "out"
    for shard, folder in (("1/2", "one"), ("2/2", second)):
        for row, name in enumerate("abcd"):
            write_squares(tmp_path / folder / f"{name}.png", corners=[(row, 3)])
        run([tmp_path / folder], out, shard=shard)
    assert set(rows_of(out)) == set("abcd")
    assert "earlier prediction" not in capfd.readouterr().err
