"""Volumes that cannot be meant: one clear line each, and the rest of the folder goes on."""

import re

import nibabel
import numpy as np
import pytest
from support.small_volumes import voxels_of, write_volumes

from meddistill.base.csv_tables import read_table
from meddistill.base.errors import InputError
from meddistill.run.layout import RunDir
from meddistill.run.tables import Rejected, read_cases
from meddistill.settings.prepare import PrepareConfig
from meddistill.stages.prepare import run_prepare

AFFINE = np.diag([1.0, 1.0, 2.5, 1.0])


def save(path, data):
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), path)


def change_header(path, change):
    content = path.read_bytes()
    header = nibabel.Nifti1Header(content[:348])
    change(header)
    path.write_bytes(header.binaryblock + content[348:])


def no_spacing(header):
    header["sform_code"] = header["qform_code"] = 0
    header["pixdim"][1:4] = 0


def no_first_row(header):
    header["srow_x"] = 0


def fallen_together(header):
    header["srow_y"] = header["srow_x"]


def with_fractions(mask):
    return mask * 0.7


def with_nan(mask):
    return np.where(np.arange(mask.size).reshape(mask.shape), mask, np.nan)


def twice(mask):
    return np.stack([mask, mask], axis=3)


def as_complex(voxels):
    return voxels.astype(np.complex64)


@pytest.mark.parametrize(
    ("of_image", "of_mask", "of_header", "reason"),
    [
        (None, with_fractions, None, r"mask bad\.nii holds fractions \(0\.7 in \d+ places\)"),
        (None, with_nan, None, r"mask bad\.nii holds NaN or infinity"),
        (None, twice, None, r"mask bad\.nii holds 2 volumes along its fourth axis, not one"),
        (as_complex, None, None, r"bad\.nii holds complex64, expected real numbers"),
        (None, None, no_spacing, r"bad\.nii says that a voxel is 0 x 0 x 0 mm"),
        (None, None, no_first_row, r"bad\.nii has an affine without an orientation"),
        (None, None, fallen_together, r"axes that fall together; mend its header"),
    ],
)
def test_a_bad_volume_is_named_and_the_others_are_prepared(
    tmp_path, of_image, of_mask, of_header, reason
):
    source, run = tmp_path / "source", RunDir(tmp_path / "run")
    write_volumes(source, count=2)
    voxels, mask = voxels_of(9)
    save(source / "imagesTr" / "bad.nii", of_image(voxels) if of_image else voxels)
    save(source / "labelsTr" / "bad.nii", of_mask(mask) if of_mask else mask)
    if of_header:
        change_header(source / "imagesTr" / "bad.nii", of_header)
    config = PrepareConfig(source=str(source), workers=1, val_fraction=0, test_fraction=0.4)
    run_prepare(run, config, seed=0)
    assert {case.volume for case in read_cases(run.data)} == {
        f"imagesTr/body_{number:02}.nii.gz" for number in range(2)
    }
    reasons = {row.reason for row in read_table(run.data / "rejected.csv", Rejected)}
    (told,) = reasons
    assert "\n" not in told
    assert re.search(reason, told)


def test_masks_of_floats_that_are_whole_are_masks(tmp_path):
    source, run = tmp_path / "source", RunDir(tmp_path / "run")
    write_volumes(source, count=2)
    voxels, mask = voxels_of(9)
    save(source / "imagesTr" / "good.nii", voxels)
    save(source / "labelsTr" / "good.nii", mask.astype(np.float64) * 0.9999)
    config = PrepareConfig(source=str(source), workers=1, val_fraction=0, test_fraction=0.4)
    run_prepare(run, config, seed=0)
    boxed = [case.slice for case in read_cases(run.data) if "good" in case.volume and case.n_boxes]
    assert len(boxed) == 6


def test_what_macs_leave_hides_no_reason(tmp_path):
    source = tmp_path / "source"
    write_volumes(source)
    for path in list(source.rglob("*.nii.gz")):
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7")
        if path.parent.name == "imagesTr":
            save(path, twice(np.asanyarray(nibabel.load(path).dataobj)))
    with pytest.raises(InputError, match=r"nifti': imagesTr/body_00\S+: .* --channel.*and 10 more"):
        run_prepare(RunDir(tmp_path / "run"), PrepareConfig(source=str(source)), seed=0)
