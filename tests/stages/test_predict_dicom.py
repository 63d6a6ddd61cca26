"""DICOM as scanners and archives have it, predicted: compressed, enhanced, and where its masks lie."""

import nibabel
import numpy as np
import pytest
from support.dicom_series import affine_of, voxels_of, write_enhanced, write_series

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError
from meddistill.data.formats.dicom import DicomImage
from meddistill.data.preprocessing import Preprocessing
from meddistill.stages.predict import run_predict
from meddistill.student.predictions_table import PredictionRow

pydicom = pytest.importorskip("pydicom")
SLOPE, INTERCEPT = 2, -100


class BrightIsLesion:
    preprocessing = Preprocessing()

    def predict_probs(self, images, batch_size=16):
        return [image.astype(np.float32) / 255 for image in images]


def run(paths, out):
    return run_predict(out / "none", [str(p) for p in paths], out, predictor=BrightIsLesion())


def points_of(path):
    """Where the marked voxels of a DICOM segmentation lie, mm in RAS+, as highdicom and as SimpleITK
    see it."""
    highdicom, sitk = pytest.importorskip("highdicom"), pytest.importorskip("SimpleITK")
    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)
    marked = np.argwhere(volume.array > 0)
    by_highdicom = (volume.affine @ np.c_[marked, np.ones(len(marked))].T)[:3].T * [-1, -1, 1]
    image = sitk.ReadImage(str(path))
    marked = np.argwhere(sitk.GetArrayFromImage(image) > 0)[:, ::-1]
    turned = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    by_itk = (turned @ marked.T).T + image.GetOrigin()
    return by_highdicom, by_itk * [-1, -1, 1]


def dice_in_mm(points, mask):
    """Between points in mm and the voxels of a NIfTI mask."""
    voxels = np.linalg.inv(mask.affine) @ np.c_[points, np.ones(len(points))].T
    np.testing.assert_allclose(voxels, voxels.round(), atol=1e-2)
    other = np.zeros(mask.shape, bool)
    other[tuple(voxels[:3].round().astype(int))] = True
    own = np.asarray(mask.dataobj) > 0
    return 2 * (own & other).sum() / (own.sum() + other.sum())


@pytest.mark.parametrize("kind", ["a file a slice", "enhanced"])
def test_both_masks_of_an_oblique_series_lie_on_the_millimetres_of_the_truth(tmp_path, kind):
    stack = voxels_of()
    if kind == "enhanced":
        write_enhanced(tmp_path / "in" / "knee" / "all.dcm", stack // 2, SLOPE, 0)
    else:
        write_series(tmp_path / "in" / "knee", stack)
    out = run([tmp_path / "in"], tmp_path / "out")
    mask = nibabel.load(out / "masks" / "knee.nii.gz")
    truth = nibabel.Nifti1Image((stack > 1000).astype(np.uint8).transpose(2, 1, 0), affine_of())
    np.testing.assert_allclose(mask.affine, truth.affine, atol=1e-4)
    for points in points_of(out / "masks" / "knee.seg.dcm"):
        assert dice_in_mm(points, mask) == 1
        assert dice_in_mm(points, truth) == 1
    ml = (stack > 1000).sum() * 1.5 * 0.75 * 2.5 / 1000
    first = read_table(out / "predictions.csv", PredictionRow)[0]
    assert first.volume_ml == pytest.approx(ml, abs=1e-3)


def test_an_enhanced_file_says_what_its_values_mean(tmp_path):
    stack = voxels_of()
    write_enhanced(tmp_path / "all.dcm", stack, SLOPE, INTERCEPT)
    first = DicomImage(tmp_path / "all.dcm", 0).load()
    np.testing.assert_array_equal(first.pixels, stack[-1] * float(SLOPE) + INTERCEPT)
    assert first.spacing_hw_mm == (1.5, 0.75)
    assert first.window == (1600 - 0.5 - 3199 / 2, 1600 - 0.5 + 3199 / 2)


def test_compressed_pixels_are_those_that_were_compressed(tmp_path):
    write_series(tmp_path / "plain" / "a", voxels_of())
    write_series(tmp_path / "packed" / "a", voxels_of())
    for path in (tmp_path / "packed" / "a").iterdir():
        data = pydicom.dcmread(path)
        data.compress(pydicom.uid.RLELossless)
        data.save_as(path)
    masks = [
        np.asarray(
            nibabel.load(
                run([tmp_path / kind], tmp_path / f"{kind}-out") / "masks/a.nii.gz"
            ).dataobj
        )
        for kind in ("plain", "packed")
    ]
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)


def test_a_compression_that_nothing_here_unpacks_is_one_line(tmp_path):
    write_series(tmp_path / "in" / "a", voxels_of())
    for path in (tmp_path / "in" / "a").iterdir():
        data = pydicom.dcmread(path)
        data.compress(pydicom.uid.RLELossless)
        data.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        data.save_as(path)
    with pytest.raises(InputError, match=r"IM000\d has pixels that cannot be read") as error:
        run([tmp_path / "in"], tmp_path / "out")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out" / "masks").exists()
