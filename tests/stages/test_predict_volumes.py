"""`predict` on volumes: masks that lie where their source lies, shares, and going on."""

import json
import os
import shutil

import numpy as np
import pytest
import tifffile
from support.dicom_series import affine_of, voxels_of, write_series
from support.layouts import write_dicom

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import ConfigError, InputError, StageError
from meddistill.data.findings import Findings
from meddistill.data.formats.pictures import write_png
from meddistill.data.formats.volume_slices import grid_of, read_volume
from meddistill.data.intensity import IntensitySettings
from meddistill.data.preprocessing import Preprocessing
from meddistill.data.scans import group_scans, read_scan
from meddistill.run.record import Stage
from meddistill.stages.predict import run_predict
from meddistill.student.predicted_journal import Done, Journal, read_journals
from meddistill.student.prediction_job import PredictOptions
from meddistill.student.predictions_table import PredictionRow


class BrightIsLesion:
    """A student that says of each pixel how bright it is, and counts what it was shown."""

    def __init__(self, **preprocessing):
        self.preprocessing = Preprocessing(**preprocessing)
        self.shown = 0

    def predict_probs(self, images, batch_size=16):
        self.shown += len(images)
        return [
            (image if image.ndim == 2 else image[..., 0]).astype(np.float32) / 255
            for image in images
        ]


def run(paths, out, student=None, **options):
    student = student or BrightIsLesion()
    options = PredictOptions(**options)
    return run_predict(out / "none", [str(p) for p in paths], out, options, predictor=student)


def rows_of(out):
    return read_table(out / "predictions.csv", PredictionRow)


def test_a_series_gives_a_volume_and_a_segmentation_in_the_same_millimetres(tmp_path):
    nibabel, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")
    highdicom = pytest.importorskip("highdicom")
    stack = voxels_of()
    write_series(tmp_path / "in" / "knee", stack)
    out = run([tmp_path / "in"], tmp_path / "out")
    mask = nibabel.load(out / "masks" / "knee.nii.gz")
    np.testing.assert_allclose(mask.affine, affine_of(), atol=1e-4)
    truth = stack > 1000
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, truth.transpose(2, 1, 0))
    segmentation = highdicom.seg.segread(out / "masks" / "knee.seg.dcm")
    volume = segmentation.get_volume(combine_segments=False)
    found = np.argwhere(volume.array[..., 0] > 0) if volume.array.ndim == 4 else None
    in_seg = (volume.affine @ np.c_[found, np.ones(len(found))].T)[:3].T * [-1, -1, 1]
    in_nifti = (
        mask.affine @ np.c_[np.argwhere(np.asarray(mask.dataobj) > 0), np.ones(truth.sum())].T
    )[:3].T
    assert len(in_seg) == truth.sum()
    order = [np.lexsort(points.round(3).T) for points in (in_seg, in_nifti)]
    np.testing.assert_allclose(in_seg[order[0]], in_nifti[order[1]], atol=1e-3)
    assert (
        pydicom.dcmread(out / "masks" / "knee.seg.dcm").SegmentSequence[0].SegmentLabel == "lesion"
    )
    rows = rows_of(out)
    ml = truth.sum() * 1.5 * 0.75 * 2.5 / 1000
    assert [row.volume_ml for row in rows] == pytest.approx([ml] * 5, abs=1e-3)
    assert [row.slice for row in rows] == [0, 1, 2, 3, 4]
    everything = "".join(path.read_text() for path in out.glob("*.*"))
    assert "SECRET" not in everything
    assert "Doe" not in everything


@pytest.mark.parametrize(
    ("skip", "more", "reason"),
    [
        ((2,), {}, r"lacks a slice between .* mm \(others are 2\.5 mm apart\)"),
        ((), {"ImagePositionPatient": [0.0, 0.0, 0.0]}, r"4 slices at the place of another"),
    ],
)
def test_a_series_that_is_not_whole_is_one_line(tmp_path, skip, more, reason):
    write_series(tmp_path / "in" / "a", voxels_of(), skip, **more)
    write_png(tmp_path / "in" / "b.png", (voxels_of(3)[1] > 1000).astype(np.uint8) * 255)
    with pytest.raises(InputError, match=rf"the series of {tmp_path}/in/a/IM\d+ .*{reason}"):
        run([tmp_path / "in"], tmp_path / "out")
    assert [row.name for row in rows_of(tmp_path / "out")] == ["b"]
    assert not (tmp_path / "out" / "run.json").exists()
    out = run([tmp_path / "in"], tmp_path / "out", skip_broken=True)
    assert (out / "run.json").exists()


def test_files_of_one_name_are_told_apart_where_they_fail(tmp_path, capsys):
    for folder in ("a", "b"):
        write_series(tmp_path / "in" / folder, voxels_of(3), skip=(0,))
        (tmp_path / "in" / folder / "IM0003").write_bytes(b"")
    with pytest.raises(InputError, match=r"first: .*in/a/IM0003 is empty"):
        run([tmp_path / "in"], tmp_path / "out")
    told = capsys.readouterr().err
    assert all(f"in/{folder}/IM0003 is empty" in told for folder in ("a", "b"))


def test_a_series_knows_its_slices_whatever_lies_beside_it(tmp_path):
    write_series(tmp_path / "a", voxels_of(), SeriesDescription="one")
    localiser = {"ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
    write_series(tmp_path / "a" / "b", voxels_of(3))
    write_dicom(tmp_path / "a" / "scout", voxels_of(1)[0], PixelSpacing=[1, 1], **localiser)
    paths = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    scans, left = group_scans(paths)
    assert [len(scan.files) for scan in scans] == [5, 3, 1]
    assert left == []
    stack = read_scan(scans[0])
    assert (stack.kind, len(stack.images), stack.slice_mm) == ("series", 5, pytest.approx(2.5))


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
@pytest.mark.parametrize("axis", [0, 2])
def test_a_volume_of_itk_gives_one_of_its_kind(tmp_path, ending, axis):
    sitk = pytest.importorskip("SimpleITK")
    stack = voxels_of()
    image = sitk.GetImageFromArray(stack)
    image.SetSpacing((0.5, 0.7, 3.0))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    out = run([tmp_path / f"a{ending}"], tmp_path / "out", BrightIsLesion(axis=axis))
    mask = out / "masks" / f"a{ending}"
    np.testing.assert_allclose(grid_of(mask).affine, grid_of(tmp_path / f"a{ending}").affine)
    expected = read_volume(tmp_path / f"a{ending}").array > 1000
    np.testing.assert_array_equal(read_volume(mask).array > 0, expected)


@pytest.mark.parametrize("ending", ["nii.gz", "mha", "nrrd"])
def test_a_file_of_two_axes_gives_one_of_two(tmp_path, ending):
    itk = pytest.importorskip("SimpleITK")
    pixels = np.random.default_rng(0).integers(0, 90, (12, 16)).astype(np.uint8)
    pixels[2:5, 3:9] = 255
    image = itk.GetImageFromArray(pixels)
    image.SetSpacing((0.5, 0.75))
    image.SetOrigin((3, -7))
    itk.WriteImage(image, str(tmp_path / f"heart.{ending}"))
    out = run([tmp_path / f"heart.{ending}"], tmp_path / "out", probabilities=True)
    for folder in ("masks", "probabilities"):
        mask = itk.ReadImage(str(out / folder / f"heart.{ending}"))
        for told in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(mask, told)() == pytest.approx(getattr(image, told)())
    mask = itk.GetArrayFromImage(itk.ReadImage(str(out / "masks" / f"heart.{ending}")))
    np.testing.assert_array_equal(mask, np.where(pixels == 255, 255, 0))
    (row,) = rows_of(out)
    assert (row.area_px, row.area_mm2) == (18, 6.75)


@pytest.mark.parametrize("axis", [2, 1])
def test_a_tiff_of_several_pages_gives_one_of_as_many(tmp_path, axis):
    stack = voxels_of(dtype=np.uint8, value=255)
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "in" / "cells.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "in" / "one.tif", stack[2])
    out = run([tmp_path / "in"], tmp_path / "out", BrightIsLesion(axis=axis), threshold=0.9)
    found = tifffile.imread(out / "masks" / "cells.tif")
    np.testing.assert_array_equal(found > 0, stack > 229)
    rows = rows_of(out)
    assert (
        len({row.slice for row in rows if row.name == "cells"})
        == stack.shape[0 if axis == 2 else 1]
    )
    assert [(row.mask, row.slice) for row in rows if row.name == "one"] == [("masks/one.png", None)]
    assert {row.volume_ml for row in rows} == {None}


def test_the_largest_part_is_that_of_the_volume(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.zeros((12, 12, 4), np.uint8)
    voxels[0, 0] = 255
    voxels[2:5, 2:5, 0:2] = 255  # 18 voxels over two slices
    voxels[7:11, 7:11, 3] = 255  # 16 in one
    voxels[0, 0, 3] = 0
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    out = run([tmp_path / "a.nii"], tmp_path / "out", largest=True)
    assert np.asarray(nibabel.load(out / "masks" / "a.nii.gz").dataobj).astype(bool).sum() == 18
    out = run([tmp_path / "a.nii"], tmp_path / "filtered", median=3)
    assert not np.asarray(nibabel.load(out / "masks" / "a.nii.gz").dataobj)[0, 0].any()
    with pytest.raises(ConfigError, match="median must be an odd number"):
        PredictOptions(median=2)


def test_several_volumes_in_a_file_need_a_channel(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.stack([voxels_of(4), voxels_of(4)[::-1]], axis=-1).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(
        InputError, match=r"2 volumes along its fourth axis; choose one with --channel"
    ):
        run([tmp_path / "a.nii.gz"], tmp_path / "out")
    out = run([tmp_path / "a.nii.gz"], tmp_path / "one", channel=1)
    assert nibabel.load(out / "masks" / "a.nii.gz").shape == (4, 20, 30)


def pictures(folder, count=6):
    for number in range(count):
        write_png(
            folder / f"{number}.png", voxels_of(count + 2, dtype=np.uint8, value=255)[number + 1]
        )


def test_what_is_done_and_intact_stays(tmp_path):
    pictures(tmp_path / "in")
    out = run([tmp_path / "in"], tmp_path / "out")
    table = (out / "predictions.csv").read_text()
    (out / "masks" / "3.png").write_bytes(b"cut short")
    again = BrightIsLesion()
    run([tmp_path / "in"], out, again)
    assert again.shown == 1
    write_png(tmp_path / "in" / "9.png", np.eye(20, dtype=np.uint8) * 255)
    more = BrightIsLesion()
    run([tmp_path / "in"], out, more)
    assert more.shown == 1
    assert (out / "predictions.csv").read_text().startswith(table)
    (out / "run.json").unlink()  # killed at its last step
    (out / "unfinished.json").write_text(json.dumps({}))
    anew = BrightIsLesion()
    run([tmp_path / "in"], tmp_path / "out2", anew)
    run([tmp_path / "in"], tmp_path / "out2", anew, resume=False)
    assert anew.shown == 14


def test_what_was_written_among_the_images_is_no_image(tmp_path):
    pictures(tmp_path / "in", 2)
    out = run([tmp_path / "in"], tmp_path / "in" / "out", overlays=True)
    table = (out / "predictions.csv").read_text()
    again = BrightIsLesion()
    run([tmp_path / "in"], out, again, overlays=True)
    assert again.shown == 0
    assert (out / "predictions.csv").read_text() == table


def test_shares_come_to_the_table_of_all(tmp_path):
    pictures(tmp_path / "in")
    whole = run([tmp_path / "in"], tmp_path / "whole")
    for shard in ("2/3", "1/3", "3/3"):
        assert not (tmp_path / "out" / "predictions.csv").exists()
        run([tmp_path / "in"], tmp_path / "out", shard=shard)
    for name in ("predictions.csv", "masks/4.png"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    assert (tmp_path / "out" / "run.json").exists()
    again = BrightIsLesion()
    run([tmp_path / "in"], tmp_path / "out", again)
    assert again.shown == 0
    with pytest.raises(ConfigError, match=r"shard is '4/3', expected I/N"):
        PredictOptions(shard="4/3")


def test_two_shares_that_end_at_once_are_both_done(tmp_path, monkeypatch):
    pictures(tmp_path / "in")
    run([tmp_path / "in"], tmp_path / "out", shard="1/2")
    opened = Stage.open

    def busy(out, *given, **more):
        if out == tmp_path / "out":
            raise StageError(f"{out} is being written by another process")
        return opened(out, *given, **more)

    monkeypatch.setattr(Stage, "open", busy)
    run([tmp_path / "in"], tmp_path / "out", shard="2/2")
    assert len(rows_of(tmp_path / "out")) == 6


def test_another_patient_s_file_of_one_name_size_and_time_is_done(tmp_path):
    for patient, level in (("p1", 90), ("p2", 250)):
        nibabel = pytest.importorskip("nibabel")
        (tmp_path / patient).mkdir()
        voxels = voxels_of(4, value=3000 if level > 200 else 150).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / patient / "ct.nii")
        os.utime(tmp_path / patient / "ct.nii", ns=(10**18, 10**18))
    out = run([tmp_path / "p1" / "ct.nii"], tmp_path / "out")
    first = (out / "masks" / "ct.nii.gz").read_bytes()
    run([tmp_path / "p2" / "ct.nii"], out)
    assert (out / "masks" / "ct.nii.gz").read_bytes() != first
    assert {row.source for row in rows_of(out)} == {str(tmp_path / "p2" / "ct.nii")}


class Killed(BrightIsLesion):
    def predict_probs(self, images, batch_size=16):
        raise KeyboardInterrupt


def test_a_share_of_other_settings_is_done_anew_also_where_it_was_stopped(tmp_path):
    pictures(tmp_path / "in")
    run([tmp_path / "in"], tmp_path / "out", shard="1/2", threshold=0.2)
    with pytest.raises(KeyboardInterrupt):
        run([tmp_path / "in"], tmp_path / "out", Killed(), shard="1/2", threshold=0.9)
    student = BrightIsLesion()
    run([tmp_path / "in"], tmp_path / "out", student, shard="1/2", threshold=0.9)
    assert student.shown == 3


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path):
    path = tmp_path / "predicted.jsonl"
    Journal(path).add(Done("a", "1", [], {}))
    with path.open("a") as file:
        file.write('{"name": "b", "sta')
    Journal(path).add(Done("c", "3", [], {}))
    assert set(read_journals([path])) == {"a", "c"}


def test_torchrun_shares_by_rank(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert PredictOptions().part() == (2, 4)
    assert PredictOptions(shard="1/2").part() == (1, 2)


def test_8_bit_dicom_is_as_the_same_pixels_in_a_png(tmp_path):
    pixels = voxels_of(3, dtype=np.uint8, value=210)[1] // 2
    write_dicom(tmp_path / "a.dcm", pixels)
    write_png(tmp_path / "a.png", pixels)
    as_is, png = read_scan(tmp_path / "a.dcm").images[0], read_scan(tmp_path / "a.png").images[0]
    np.testing.assert_array_equal(as_is, png)
    stretched = read_scan(tmp_path / "a.dcm", IntensitySettings(scanner_8bit="stretched")).images[0]
    assert stretched.max() == 255
    assert png.max() < 255


def damaged(folder, kind):
    """A volume that nobody can mean, beside one that is whole."""
    nibabel = pytest.importorskip("nibabel")
    voxels, affine = voxels_of(4).astype(np.float32), np.eye(4)
    if kind == "nan":
        voxels[1, 3, 3] = np.nan
    image = nibabel.Nifti1Image(voxels, affine)
    nibabel.save(image, folder / "bad.nii")
    if "affine" in kind or "spacing" in kind:  # nibabel writes none of these
        header = image.header.copy()
        header["srow_x"] = 0
        if kind == "zero spacing":
            header["pixdim"][1:4] = 0
        content = (folder / "bad.nii").read_bytes()
        (folder / "bad.nii").write_bytes(header.binaryblock + content[len(header.binaryblock) :])
    if kind == "cut short":
        content = (folder / "bad.nii").read_bytes()
        (folder / "bad.nii").write_bytes(content[: len(content) // 2])
    whole = nibabel.Nifti1Image(voxels_of(4).astype(np.int16), np.eye(4))
    nibabel.save(whole, folder / "good.nii")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("nan", "image holds NaN or infinity"),
        ("flat affine", "affine without an orientation"),
        ("zero spacing", "affine without an orientation"),
        ("cut short", "is damaged"),
    ],
)
def test_a_volume_that_cannot_be_meant_is_one_line_and_the_rest_goes_on(tmp_path, kind, reason):
    (tmp_path / "in").mkdir()
    damaged(tmp_path / "in", kind)
    with pytest.raises(InputError, match=f"bad.nii.*{reason}"):
        run([tmp_path / "in"], tmp_path / "out")
    assert {row.name for row in rows_of(tmp_path / "out")} == {"good"}
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["good.nii.gz"]
    out = run([tmp_path / "in"], tmp_path / "out", skip_broken=True)
    assert (out / "run.json").exists()


def test_a_series_that_was_cut_short_while_copied_is_one_line(tmp_path):
    write_series(tmp_path / "in" / "a", voxels_of())
    path = tmp_path / "in" / "a" / "IM0003"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"IM0003 has pixels that cannot be read"):
        run([tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out" / "masks").exists()


def test_a_file_that_is_empty_yet_is_told_of(tmp_path):
    write_series(tmp_path / "in" / "a", voxels_of())
    (tmp_path / "in" / "a" / "IM0001").write_bytes(b"")
    with pytest.raises(InputError, match="IM0001 is empty"):
        run([tmp_path / "in"], tmp_path / "out")


def test_a_copy_of_a_slice_is_no_picture_of_its_own(tmp_path, capsys):
    write_series(tmp_path / "in" / "a", voxels_of())
    shutil.copy(tmp_path / "in" / "a" / "IM0003", tmp_path / "in" / "a" / "IM0003 copy")
    out = run([tmp_path / "in"], tmp_path / "out")
    assert len(rows_of(out)) == 5
    assert "IM0003 copy is left out: it is IM0003 once more" in capsys.readouterr().err


def test_pixels_without_a_size_are_no_volume_and_no_picture(tmp_path):
    write_series(tmp_path / "in" / "a", voxels_of(), PixelSpacing=[0, 1])
    with pytest.raises(
        InputError, match="IM0001 cannot be shown: its header says that a pixel is 0 x 1 mm"
    ):
        run([tmp_path / "in"], tmp_path / "out")
    assert not (tmp_path / "out" / "masks").exists()


def test_no_segmentation_of_other_masks_stays_beside_new_ones(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    write_series(tmp_path / "in" / "a", voxels_of())
    out = run([tmp_path / "in"], tmp_path / "out")
    assert (out / "masks" / "a.seg.dcm").exists()
    for path in (tmp_path / "in" / "a").iterdir():  # another series of that name, without a study
        data = pydicom.dcmread(path)
        del data.StudyInstanceUID
        data.save_as(path)
    run([tmp_path / "in"], out)
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["a.nii.gz"]
    assert sorted(read_journals([out / "predicted.jsonl"])["a"].written) == ["masks/a.nii.gz"]


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_what_is_told_of_a_damaged_volume_is_the_same_each_time(tmp_path, ending):
    sitk = pytest.importorskip("SimpleITK")
    path = tmp_path / f"bad{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(voxels_of()), str(path))
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(InputError, match=f"bad{ending} is damaged: [^(]*$"):
        run([path], tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.67", "a report or a note"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "a presentation state"),
        ("1.3.12.2.1107.5.9.1", "a manufacturer's own data"),
    ],
)
def test_what_an_archive_keeps_beside_images_is_left_out(tmp_path, capsys, kind, what):
    pydicom = pytest.importorskip("pydicom")
    write_series(tmp_path / "in" / "a", voxels_of())
    beside = tmp_path / "in" / "a" / "SR1"
    write_dicom(beside, voxels_of()[0], SOPClassUID=kind)
    data = pydicom.dcmread(beside)
    for name in ("Rows", "Columns", "PixelData"):
        del data[name]
    data.save_as(beside)
    out = run([tmp_path / "in"], tmp_path / "out")
    assert {row.name for row in rows_of(out)} == {"a"}
    assert f"SR1 is left out: it holds {what}" in capsys.readouterr().err


def test_a_viewer_is_asked_for_the_colour_that_somebody_chose(tmp_path):
    pydicom, highdicom = pytest.importorskip("pydicom"), pytest.importorskip("highdicom")
    write_series(tmp_path / "in" / "knee", voxels_of())
    for chosen in ({}, {"bone": (0, 160, 255)}):
        findings = Findings(("bone",), chosen_colours=chosen)
        out = run(
            [tmp_path / "in"], tmp_path / f"out{len(chosen)}", BrightIsLesion(findings=findings)
        )
        (segment,) = pydicom.dcmread(out / "masks" / "knee.seg.dcm").SegmentSequence
        stored = segment.get("RecommendedDisplayCIELabValue")
        if chosen:
            shown = highdicom.color.CIELabColor.from_dicom_value(tuple(stored)).to_rgb()
            assert np.abs(np.subtract(shown, chosen["bone"])).max() <= 2
        else:
            assert stored is None


def test_a_series_without_what_may_be_empty_has_a_segmentation(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    folder = tmp_path / "in" / "a"
    charset = ["", "ISO 2022 IR 87"]
    write_series(
        folder, voxels_of(), SpecificCharacterSet=charset, PatientName="Yamada^Tarou=山田^太郎"
    )
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        for name in ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber"):
            del data[name]
        data.save_as(path)
    out = run([folder], tmp_path / "out")
    made = pydicom.dcmread(out / "masks" / "a.seg.dcm")
    assert str(made.PatientName) == "Yamada^Tarou=山田^太郎"
    assert made.PatientBirthDate is None or made.PatientBirthDate == ""


def test_a_volume_of_one_slice_is_still_a_volume(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = voxels_of(3)[1:2].T.astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    out = run([tmp_path / "a.nii"], tmp_path / "out")
    assert nibabel.load(out / "masks" / "a.nii.gz").shape == (30, 20, 1)
