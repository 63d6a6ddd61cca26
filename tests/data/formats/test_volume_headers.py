"""What the header of a volume says of millimetres, and what it does not say."""

import numpy as np
import pytest

from meddistill.base.errors import InputError
from meddistill.data.formats import nifti, volume_slices
from meddistill.data.formats.nifti import write_slices
from meddistill.data.formats.volume_slices import grid_of, read_volume, slices_of

VOXELS = np.arange(6 * 7 * 8, dtype="<i2").reshape(6, 7, 8)
AFFINE = np.diag([0.5, 0.6, 2.0, 1.0])


def nifti_file(path, change=lambda header: None):
    nibabel = pytest.importorskip("nibabel")
    content = nibabel.Nifti1Image(VOXELS, AFFINE).to_bytes()
    header = nibabel.Nifti1Header(content[:348], check=False)
    change(header.structarr)
    path.write_bytes(header.binaryblock + content[348:])
    return path


def nrrd_file(path, directions):
    sizes = " ".join(map(str, VOXELS.shape))
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        f"space directions: {directions}\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + VOXELS.tobytes(order="F"))
    return path


def other_sides(header):
    header["pixdim"][1:4] = 1


def no_sides(header):
    header["pixdim"][1:4] = 0


def micrometres(header):
    header["xyzt_units"] = 3


@pytest.mark.parametrize(
    ("change", "sides"),
    [
        (lambda header: None, (0.5, 0.6, 2)),
        (other_sides, (0.5, 0.6, 2)),
        (no_sides, (0.5, 0.6, 2)),
        (micrometres, (0.0005, 0.0006, 0.002)),
    ],
)
def test_millimetres_are_those_of_the_affine_in_the_unit_of_the_file(tmp_path, change, sides):
    path = nifti_file(tmp_path / "a.nii", change)
    found = read_volume(path)
    assert found.spacing == pytest.approx(sides)
    np.testing.assert_allclose(np.diag(found.affine)[:3], sides, rtol=1e-6)
    np.testing.assert_allclose(grid_of(path).affine, found.affine)


def test_a_mask_has_the_unit_of_its_source(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = nifti_file(tmp_path / "a.nii", micrometres)
    maps = [each.load().pixels > 100 for each in slices_of(path)]
    out = tmp_path / "mask.nii.gz"
    write_slices(out, grid_of(path), [each.astype(np.uint8) for each in maps], path)
    image, mask = nibabel.load(path), nibabel.load(out)
    np.testing.assert_allclose(mask.affine, image.affine)
    assert mask.header.get_xyzt_units() == image.header.get_xyzt_units()
    np.testing.assert_array_equal(np.asarray(mask.dataobj), VOXELS > 100)


def test_a_unit_that_no_standard_has_is_kept(tmp_path):
    nibabel = pytest.importorskip("nibabel")

    def odd(header):
        header["xyzt_units"] = 255

    path = nifti_file(tmp_path / "a.nii", odd)
    assert read_volume(path).spacing == pytest.approx((0.5, 0.6, 2))
    out = tmp_path / "mask.nii.gz"
    write_slices(out, grid_of(path), [np.zeros((7, 6), np.uint8)] * 8, path)
    assert int(nibabel.load(out).header["xyzt_units"]) == 255


@pytest.mark.parametrize("row", ["srow_x", "srow_z"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_affine_of_no_numbers_is_one_line(tmp_path, row, value):
    def spoiled(header):
        header[row][0] = value

    path = nifti_file(tmp_path / "a.nii", spoiled)
    with pytest.raises(InputError, match=r"a\.nii has an affine with a number that is not finite"):
        slices_of(path)


def test_a_volume_that_is_cut_short_is_tried_once(tmp_path, monkeypatch):
    path = nifti_file(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes()[:-100])
    tried = []
    whole = nifti.read
    monkeypatch.setattr(
        volume_slices, "read_volume", lambda *given: tried.append(1) or whole(*given)
    )
    for each in slices_of(path):
        with pytest.raises(InputError, match=r"a\.nii is damaged"):
            each.load()
    assert len(tried) == 1


def bare_nrrd(path, *lines):
    head = ["NRRD0004", "type: short", "dimension: 3", "sizes: 6 7 8", "endian: little"]
    text = "\n".join([*head, "encoding: raw", *lines, "", ""])
    path.write_bytes(text.encode() + VOXELS.tobytes(order="F"))


def bare_mha(path, *lines):
    head = ["ObjectType = Image", "NDims = 3", "DimSize = 6 7 8", "ElementType = MET_SHORT"]
    text = "\n".join([*head, *lines, "ElementDataFile = LOCAL", ""])
    path.write_bytes(text.encode() + VOXELS.tobytes(order="F"))


@pytest.mark.parametrize(
    ("write", "line", "sides"),
    [
        (bare_nrrd, "", None),
        (bare_nrrd, "spacings: nan nan nan", None),
        (bare_nrrd, "spacings: 0.5 0.5 nan", None),
        (bare_nrrd, "spacings: 0.5 0.6 2", (0.5, 0.6, 2)),
        (bare_mha, "", None),
        (bare_mha, "ElementSpacing = 0.5 0.6 2", (0.5, 0.6, 2)),
    ],
)
def test_a_volume_that_says_no_spacing_has_none(tmp_path, write, line, sides):
    path = tmp_path / ("a.nrrd" if write is bare_nrrd else "a.mha")
    write(path, *([line] if line else []))
    found = read_volume(path)
    assert found.spacing == (None if sides is None else pytest.approx(sides))
    picture = slices_of(path)[2].load()
    assert (picture.spacing_hw_mm is None) == (picture.slice_mm is None) == (sides is None)


@pytest.mark.parametrize(
    ("directions", "reason"),
    [
        ("(1,0,0) (1,0,0) (0,0,3)", r"axes that fall together"),
        ("(1,0,0) (0,1,0) (0,0,0)", r"a spacing of 0"),
    ],
)
def test_an_affine_that_cannot_be_inverted_is_refused_in_any_format(tmp_path, directions, reason):
    path = nrrd_file(tmp_path / "flat.nrrd", directions)
    with pytest.raises(InputError, match=reason):
        slices_of(path, 2)


def test_what_itk_says_is_told_without_its_own_places(tmp_path):
    path = nrrd_file(tmp_path / "bad.nrrd", "(nan,0,0) (0,1,0) (0,0,3)")
    with pytest.raises(InputError, match=r"bad\.nrrd is not a volume that can be read") as caught:
        grid_of(path)
    told = str(caught.value).replace(str(tmp_path), "")
    assert not any(each in told for each in ("cxx", "0x", "ITK", "itk"))
