"""Volumes of every format: where they lie, and that image and mask lie in one place."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from support.layouts import BOX, SIZE, image, mask, volume, write_nrrd
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json
from meddistill.data.formats.volume import Grid, apart, canonical
from meddistill.data.formats.volume_slices import MaskSlice, VolumeSlice, grid_of, read_volume
from meddistill.data.sources.finest_plane import finest_axis
from meddistill.data.sources.scan_folders import SCAN_SOURCES
from meddistill.data.sources.source import SourceOptions
from meddistill.run.labels import annotated_boxes
from meddistill.settings.axes import axis_number


def labels():
    found = np.zeros((5, SIZE, SIZE), dtype=np.uint8)
    found[2] = mask(1)
    return found


@pytest.mark.parametrize("ending", ["nrrd", "mha", "mhd"])
def test_an_itk_volume_lies_where_its_file_says(tmp_path, ending):
    voxels = volume().transpose(2, 1, 0)
    write_nrrd(tmp_path / f"v.{ending}", voxels, origin=(10.0, 20.0, 30.0))
    found = read_volume(tmp_path / f"v.{ending}")
    assert found.spacing == (0.5, 2.0, 3.0)
    # ITK counts to the left and back, RAS+ to the right and front: the last voxel comes first.
    assert found.array[0, 0, 0] == voxels[0, -1, -1]
    assert found.affine[:3, 3] == pytest.approx([-10 - 0.5 * (SIZE - 1), -20 - 2 * (SIZE - 1), 30])


@pytest.mark.parametrize(
    ("units", "sides"),
    [
        ('"um" "um" "um"', (0.05, 0.05, 0.2)),
        ('"mm" "mm" "mm"', (50, 50, 200)),
        ('"" "" "none"', (50, 50, 200)),
    ],
)
def test_nrrd_files_may_count_in_micrometres(tmp_path, units, sides):
    head = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 5 3\nencoding: raw\nunits: {units}"
    (tmp_path / "a.nrrd").write_bytes(f"{head}\nspacings: 50 50 200\n\n".encode() + bytes(60))
    assert read_volume(tmp_path / "a.nrrd").spacing == pytest.approx(sides)


def test_nrrd_files_in_two_units_are_refused(tmp_path):
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 5 3\nencoding: raw\nspacings: 5 5 2"
    (tmp_path / "a.nrrd").write_bytes(f'{head}\nunits: "um" "um" "mm"\n\n'.encode() + bytes(60))
    with pytest.raises(InputError, match="counts in mm and in um, expected one unit"):
        grid_of(tmp_path / "a.nrrd")


def test_formats_may_differ_between_image_and_mask(tmp_path, prepare):
    nibabel = pytest.importorskip("nibabel")
    write_nrrd(tmp_path / "source" / "images" / "a.nrrd", volume().transpose(2, 1, 0))
    stored = nibabel.Nifti1Image(labels().transpose(2, 1, 0), np.diag([-0.5, -2.0, 3.0, 1.0]))
    (tmp_path / "source" / "masks").mkdir()
    nibabel.save(stored, tmp_path / "source" / "masks" / "a.nii.gz")
    out, cases, reasons = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    (case,) = (case for case in cases.values() if case.annotation == "boxes")
    assert annotated_boxes(out, case).tolist() == [BOX]
    assert case.spacing_mm == "2,0.5"
    assert reasons == {}


def test_a_mask_without_its_place_may_be_taken_voxel_for_voxel(tmp_path, prepare):
    nibabel = pytest.importorskip("nibabel")
    marked = np.zeros((20, 22, 6), dtype=np.uint8)
    marked[3:9, 5:15, 2] = 1
    pixels = (marked * 200 + np.arange(20, dtype=np.uint8)[:, None, None]).astype(np.int16)
    for kind, voxels, affine in (
        ("images", pixels, np.diag([-0.7, -0.7, 2.0, 1.0])),
        ("masks", marked, np.eye(4)),
    ):
        (tmp_path / "source" / kind).mkdir(parents=True)
        stored = nibabel.Nifti1Image(voxels, affine)
        nibabel.save(stored, tmp_path / "source" / kind / "a.nii.gz")
    out, cases, reasons = prepare(tmp_path / "source", accept=["moved"], **ALL_IN_TRAINING)
    (case,) = (case for case in cases.values() if case.annotation == "boxes")
    assert annotated_boxes(out, case).tolist() == [[3, 5, 9, 15]]
    assert reasons == {}
    other = nibabel.Nifti1Image(marked[:, :20], np.eye(4))
    nibabel.save(other, tmp_path / "source" / "masks" / "a.nii.gz")
    with pytest.raises(
        InputError, match=r"20x20x6 voxels, its image 20x22x6: --accept moved takes"
    ):
        prepare(tmp_path / "source", tmp_path / "b", accept=["moved"], **ALL_IN_TRAINING)


def test_pages_of_a_tiff_are_slices_as_they_are_drawn(tmp_path, prepare):
    stack = np.stack([image(number) for number in range(5)])
    for kind, pages in (("images", stack), ("masks", labels() * 255)):
        (tmp_path / "source" / kind).mkdir(parents=True)
        tifffile.imwrite(tmp_path / "source" / kind / "a.tif", pages)
    out, cases, _ = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    (case,) = (case for case in cases.values() if case.annotation == "boxes")
    assert annotated_boxes(out, case).tolist() == [BOX]
    assert case.source == "images/a.tif#axial2"


def test_pages_may_be_packed_or_have_white_as_their_lowest_value(tmp_path):
    pages = np.stack([image(number) for number in range(3)])
    tifffile.imwrite(tmp_path / "plain.tif", pages, photometric="minisblack", metadata=None)
    tifffile.imwrite(tmp_path / "white.tif", ~pages, photometric="miniswhite", metadata=None)
    first, *others = (Image.fromarray(page) for page in pages)
    first.save(tmp_path / "lzw.tif", save_all=True, append_images=others, compression="tiff_lzw")
    for name in ("white", "lzw"):
        found, plain = (read_volume(tmp_path / f"{each}.tif").array for each in (name, "plain"))
        np.testing.assert_array_equal(found, plain)


def test_pages_of_several_channels_are_no_slices(tmp_path):
    stack = np.zeros((4, 2, 8, 9), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match="holds 2 channels: expected a page a slice"):
        read_volume(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", stack[:, 0], imagej=True, metadata={"axes": "TYX"})
    assert read_volume(tmp_path / "b.tif").array.shape == (9, 8, 4)


def test_a_mask_that_lies_elsewhere_is_refused_in_millimetres(tmp_path, prepare):
    for name, origin in (("a", 0.0), ("b", 10.0)):
        write_nrrd(tmp_path / "source" / f"{name}.nrrd", volume().transpose(2, 1, 0))
        write_nrrd(tmp_path / "source" / f"{name}_seg.nrrd", labels(), origin=(origin, 0.0, 0.0))
    _, cases, reasons = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert {case.group for case in cases.values()} == {"a"}
    assert "mask lies 10.0 mm from its image" in reasons["b.nrrd"]
    assert "--accept moved" in reasons["b.nrrd"]


def test_axes_stored_in_another_order_are_no_move(tmp_path):
    grid = Grid((4, 5, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = np.zeros((4, 4))
    turned[0, 2], turned[1, 0], turned[2, 1], turned[3, 3] = 1.0, 2.0, 3.0, 1.0
    assert apart(grid, Grid((5, 6, 4), turned)) == ""
    assert "4x5x6 voxels, its image 4x5x6" not in apart(grid, Grid((5, 6, 4), turned))
    assert "mask has 4x5x7 voxels, its image 4x5x6" in apart(grid, Grid((5, 7, 4), turned))


def test_the_canonical_frame_is_that_of_nibabel():
    nibabel = pytest.importorskip("nibabel")
    voxels = np.arange(24).reshape(2, 3, 4)
    affine = np.array([[0, -2.0, 0.1, 5], [0.2, 0, 3.0, -7], [-1.5, 0, 0, 2], [0, 0, 0, 1]])
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels.astype(np.int16), affine))
    found, turned = canonical(voxels, affine)
    assert (found == np.asarray(expected.dataobj)).all()
    assert turned == pytest.approx(expected.affine)


def test_damage_is_one_line(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\nrubbish\n")
    with pytest.raises(InputError, match=r"a\.nrrd is not a volume that can be read") as caught:
        grid_of(tmp_path / "a.nrrd")
    assert "\n" not in str(caught.value)


def test_equal_names_in_patients_folders_stay_apart(tmp_path, prepare):
    for patient in ("p01", "p02", "p03"):
        write_nrrd(tmp_path / "source" / patient / "scan.nrrd", volume().transpose(2, 1, 0))
        if patient != "p03":
            write_nrrd(tmp_path / "source" / patient / "scan_seg.nrrd", labels())
    _, cases, _ = prepare(tmp_path / "source", **ALL_IN_TRAINING)
    assert {case.group for case in cases.values()} == {"p01", "p02", "p03"}
    assert {case.annotation for case in cases.values() if case.group == "p03"} == {"unknown"}
    assert {case.case_id for case in cases.values()} >= {"p01_z2", "p02_z2", "p03_z4"}


def test_voxels_in_a_file_of_their_own_count_as_content(tmp_path):
    write_nrrd(tmp_path / "v.mhd", volume().transpose(2, 1, 0))
    assert VolumeSlice(tmp_path / "v.mhd", 2, 0).files == (tmp_path / "v.mhd", tmp_path / "v.raw")
    write_nrrd(tmp_path / "v.mha", volume().transpose(2, 1, 0))
    assert VolumeSlice(tmp_path / "v.mha", 2, 0).files == (tmp_path / "v.mha",)


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1, 1, 1), 2), ((1, 1, 5), 2), ((4, 1, 1), 0), ((1, 3, 1), 1), ((3, 3, 1), 1)],
)
def test_auto_cuts_across_the_finest_plane(tmp_path, spacing, axis):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.zeros((4, 5, 6), np.uint8)
    turned = nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0])).as_reoriented(
        nibabel.orientations.axcodes2ornt("PSR")
    )
    nibabel.save(turned, tmp_path / "a.nii")
    assert finest_axis(tmp_path) == axis
    with pytest.raises(ConfigError, match="axis is 'axiale'"):
        axis_number("axiale")


def test_a_mask_on_another_grid_is_brought_onto_the_images(tmp_path, prepare):
    """The same body drawn at half the spacing, mirrored and shifted by its own origin."""
    nibabel = pytest.importorskip("nibabel")
    fine = np.zeros((40, 36, 16), np.uint8)
    fine[10:24, 8:20, 4:10] = 1
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    affine[:3, 3] = -0.25, -0.25, -0.5  # centres of two fine voxels are those of a coarse one
    image = nibabel.Nifti1Image(
        volume(3)[:20, :18, :5].repeat(2, 2)[..., :8], np.diag([1.0, 1, 2, 1])
    )
    (tmp_path / "s" / "imagesTr").mkdir(parents=True)
    (tmp_path / "s" / "labelsTr").mkdir()
    nibabel.save(image, tmp_path / "s" / "imagesTr" / "a.nii.gz")
    mask_file = nibabel.Nifti1Image(fine, affine).as_reoriented(
        nibabel.orientations.axcodes2ornt("LPS")
    )
    nibabel.save(mask_file, tmp_path / "s" / "labelsTr" / "a.nii.gz")
    with pytest.raises(InputError, match=r"--resample-masks brings it onto the image's voxels"):
        prepare(tmp_path / "s", **ALL_IN_TRAINING)
    ref = MaskSlice(
        tmp_path / "s" / "labelsTr" / "a.nii.gz",
        2,
        3,
        image=tmp_path / "s" / "imagesTr" / "a.nii.gz",
    )
    found = ref.load()[::-1, ::-1].T
    expected = np.zeros((20, 18), bool)
    expected[5:12, 4:10] = True
    np.testing.assert_array_equal(found, expected)
    assert not MaskSlice(ref.path, 2, 5, image=ref.image).load().any()


def listed(source, **options):
    """Volume, group and whether there is a mask of all that lies below `source`; what was rejected."""
    found = SCAN_SOURCES["scans"].list_cases(source, SourceOptions(**options))
    told = {(case.volume, case.group, case.mask is not None) for case in found.cases}
    return told, {row.source: row.reason for row in found.rejected}


def write_all(source, *names):
    for name in names:
        write_nrrd(source / name, volume().transpose(2, 1, 0))


def test_subjects_of_bids_stay_together_whatever_the_visit_and_modality(tmp_path):
    visits = [("sub-01", "ses-1"), ("sub-01", "ses-2"), ("sub-02", "ses-1")]
    write_all(tmp_path, *(f"{a}/{b}/anat/{a}_{b}_T1w.nrrd" for a, b in visits))
    write_all(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nrrd")
    write_all(
        tmp_path, *(f"derivatives/labels/{a}/{b}/anat/{a}_{b}_T1w_mask.nrrd" for a, b in visits)
    )
    found, _ = listed(tmp_path)
    assert {(volume.split("/")[0], group) for volume, group, _ in found} == {
        ("sub-01", "sub-01"),
        ("sub-02", "sub-02"),
    }
    assert len(found) == 4
    found, rejected = listed(tmp_path, channel="T1w")
    assert len(found) == 3
    assert all(has_mask for *_, has_mask in found)
    assert rejected == {
        "sub-01/ses-1/anat/sub-01_ses-1_FLAIR.nrrd": "its channel is FLAIR, not T1w"
    }


def test_modalities_with_a_mask_each_are_of_one_patient(tmp_path):
    names = [f"{patient}_{kind}" for patient in ("p1", "p2") for kind in ("t1", "t2")]
    write_all(tmp_path, *(f"images/{name}.nrrd" for name in names))
    write_all(tmp_path, *(f"masks/{name}.nrrd" for name in names))
    found, _ = listed(tmp_path)
    assert {(volume, group) for volume, group, _ in found} == {
        (f"images/{name}.nrrd", name[:2]) for name in names
    }


def test_other_channels_of_a_volume_are_left_out(tmp_path):
    """PI-CAI."""
    kinds = ("t2w", "adc", "hbv", "sag", "cor", "new")
    names = [f"images/{p}/{p}_100{p}" for p in (1, 2, 3)]
    write_all(tmp_path, *(f"{name}_{kind}.nrrd" for name in names for kind in kinds))
    write_all(tmp_path, *(f"labels/{p}_100{p}.nrrd" for p in (1, 2, 3)))
    for wanted in ("t2w", "hbv"):
        found, rejected = listed(tmp_path, channel=wanted)
        assert found == {(f"{name}_{wanted}.nrrd", name.split("/")[1], True) for name in names}
        assert rejected == {
            f"{name}_new.nrrd": f"its channel is new, not {wanted}" for name in names
        }
    with pytest.raises(ConfigError, match="channels adc, cor, hbv, sag, t2w; choose"):
        listed(tmp_path)


def test_the_other_modality_of_a_patient_is_left_out_and_in_its_group(tmp_path):
    """HECKTOR, where the mask is found by `CT`, a word that images are called by."""
    names = ("CHUM-001", "CHUM-002", "MDA-001")
    write_all(
        tmp_path, *(f"imagesTr/{name}__{kind}.nrrd" for name in names for kind in ("CT", "PT"))
    )
    write_all(tmp_path, *(f"labelsTr/{name}.nrrd" for name in names))
    found, rejected = listed(tmp_path)
    assert len(found) == 6
    assert {group for _, group, _ in found} == {f"{name}_" for name in names}
    found, rejected = listed(tmp_path, channel="CT")
    assert {(volume, mask) for volume, _, mask in found} == {
        (f"imagesTr/{name}__CT.nrrd", True) for name in names
    }
    assert set(rejected.values()) == {"its channel is PT, not CT"}
    found, rejected = listed(tmp_path, channel="PT")
    assert {(volume, mask) for volume, _, mask in found} == {
        (f"imagesTr/{name}__PT.nrrd", True) for name in names
    }
    assert set(rejected.values()) == {"its channel is CT, not PT"}


def test_files_in_folders_of_their_own_are_paired_by_the_folder_around(tmp_path):
    """BraTS 2015, whose names differ by a number of the file."""
    volumes = {}
    for number in range(3):
        for place, kind in enumerate(("O.MR_Flair", "O.MR_T1", "O.OT")):
            name = f"VSD.Brain.XX.{kind}.{54000 + 10 * number + place}"
            write_all(tmp_path, f"HGG/pat{number}/{name}/{name}.nrrd")
            volumes[number, kind] = f"HGG/pat{number}/{name}/{name}.nrrd"
    found, rejected = listed(tmp_path, images="*MR_Flair*", masks="*.OT.*")
    assert found == {(volumes[n, "O.MR_Flair"], f"pat{n}", True) for n in range(3)}
    assert rejected == {}
    found, rejected = listed(tmp_path, masks="*.OT.*")  # of two images: whose mask?
    assert not any(mask for *_, mask in found)
    assert set(rejected.values()) == {"mask without an image volume"}


def test_planes_without_a_channel_beside_them_stay_volumes(tmp_path):
    write_all(tmp_path, "p1_sag.nrrd", "p1_cor.nrrd", "p2_ax.nrrd", "p2_lung.nrrd")
    found, _ = listed(tmp_path)
    assert {(volume, group) for volume, group, _ in found} == {
        ("p1_sag.nrrd", "p1"),
        ("p1_cor.nrrd", "p1"),
        ("p2_ax.nrrd", "p2_ax"),
        ("p2_lung.nrrd", "p2_lung"),
    }


def note_of(source, **options):
    return SCAN_SOURCES["scans"].list_cases(source, SourceOptions(**options)).notes[0]


def test_visits_of_a_patient_stay_together(tmp_path):
    """BraTS from 2023 on."""
    visits = ("00002-000", "00002-001", "00003-000", "00005-000")
    for visit in visits:
        write_all(tmp_path / "b", *(f"G-{visit}/G-{visit}-{end}.nrrd" for end in ("t2f", "seg")))
    found, _ = listed(tmp_path / "b")
    expected = {f"G-{v}/G-{v}-t2f.nrrd": f"G-{v}" for v in visits}
    expected |= {f"G-{v}/G-{v}-t2f.nrrd": "G-00002" for v in visits[:2]}
    assert {volume: group for volume, group, _ in found} == expected
    assert note_of(tmp_path / "b").endswith("2 folders are visits (-000, -001) of 1 patients")
    # Flat, and of a site with many patients.
    write_all(tmp_path / "flat", *(f"G-{visit}.nrrd" for visit in visits))
    assert {group for _, group, _ in listed(tmp_path / "flat")[0]} == {
        "G-00002",
        "G-00003-000",
        "G-00005-000",
    }
    write_all(tmp_path / "site", *(f"10001-{number:03}.nrrd" for number in range(6)))
    assert len({group for _, group, _ in listed(tmp_path / "site")[0]}) == 6


def test_folders_of_many_volumes_in_one_row_of_numbers_are_no_patients(tmp_path):
    """MosMed sorts its patients by severity."""
    held = {"CT-0": (1, 2, 3), "CT-1": (255, 256, 257), "CT-2": (939, 940)}
    names = [f"{folder}/study_{n:04}" for folder, numbers in held.items() for n in numbers]
    write_all(tmp_path / "m", *(f"{name}.nrrd" for name in names))
    found, _ = listed(tmp_path / "m")
    assert {group for _, group, _ in found} == {name.split("/")[1] for name in names}
    assert "folders CT-0, CT-1, CT-2 are no patients" in note_of(tmp_path / "m")
    for folder in ("p", "case ", "x"):  # the last with volumes that its own name leads
        for n, numbers in enumerate(held.values(), start=1):
            lead = f"x{n}_" if folder == "x" else ""
            write_all(tmp_path / folder, *(f"{folder}{n}/{lead}study_{k:04}.nrrd" for k in numbers))
        found, _ = listed(tmp_path / folder)
        assert {group for _, group, _ in found} == {f"{folder}{n}" for n in (1, 2, 3)}


def test_names_that_differ_in_ct_and_mr_are_two(tmp_path):
    """MM-WHS."""
    names = [f"{kind}_train/{kind}_train_{n}" for kind in ("ct", "mr") for n in (1001, 1002)]
    write_all(tmp_path, *(f"{name}_{end}.nrrd" for name in names for end in ("image", "label")))
    found, rejected = listed(tmp_path)
    assert not rejected
    assert {(volume, mask) for volume, _, mask in found} == {
        (f"{name}_image.nrrd", True) for name in names
    }
    assert len({group for _, group, _ in found}) == 4


def test_numbers_that_do_not_count_from_0_are_patients(tmp_path):
    write_all(tmp_path, *(f"images/IMG_{number:04}.nrrd" for number in (1, 2, 3)))
    write_all(tmp_path, "masks/IMG_0001.nrrd")
    found, _ = listed(tmp_path)
    assert {group for _, group, _ in found} == {"IMG_0001", "IMG_0002", "IMG_0003"}
    write_all(tmp_path / "nnunet", "a_0000.nrrd", "a_0001.nrrd", "b_0000.nrrd", "b_0001.nrrd")
    with pytest.raises(ConfigError, match="channels 0000, 0001"):
        listed(tmp_path / "nnunet")


def test_masks_that_are_resampled_are_counted_and_those_of_another_place_refused(tmp_path, prepare):
    for name, origin in (("a", 0.5), ("b", 1000.0), ("c", 0.0)):
        write_nrrd(tmp_path / "s" / f"{name}.nrrd", volume().transpose(2, 1, 0))
        write_nrrd(tmp_path / "s" / f"{name}_seg.nrrd", labels(), origin=(0.0, origin, 0.0))
    out, _, reasons = prepare(tmp_path / "s", resample_masks=True, **ALL_IN_TRAINING)
    assert reasons == {
        "b.nrrd": "mask b_seg.nrrd lies wholly outside of its image by its own header: is it another "
        "patient's?"
    }
    told = dict(read_json(out / "run.json")["results"]["understood"])["volumes"]
    assert told.endswith("masks of 1 are brought onto their voxels")


@pytest.mark.parametrize("name", ["p{0}/p{0}_wmh.nrrd", "p{0}/Consensus.nrrd", "dots/p{0}.nrrd"])
def test_label_maps_of_unknown_names_are_no_images(tmp_path, name):
    for number in range(1, 5):
        folder = "images" if name.startswith("dots") else f"p{number}"
        write_nrrd(tmp_path / folder / f"p{number}.nrrd", volume(number).transpose(2, 1, 0))
        write_nrrd(tmp_path / name.format(number), labels())
    pattern = name.format("*")
    with pytest.raises(
        InputError, match=r"holds 4 volumes that look like masks .* beside 4"
    ) as said:
        listed(tmp_path)
    assert f"--masks '{pattern}'" in str(said.value)
    found, _ = listed(tmp_path, masks=pattern)
    assert len(found) == 4
    assert all(has_mask for *_, has_mask in found)
    found, _ = listed(tmp_path, images="*")
    assert len(found) == 8


def test_images_alone_are_no_label_maps(tmp_path):
    for name in ("a/t1.nrrd", "b/t1.nrrd", "a/x.nrrd", "b/x.nrrd"):
        write_nrrd(tmp_path / name, volume().transpose(2, 1, 0))
    found, _ = listed(tmp_path)
    assert len(found) == 4
