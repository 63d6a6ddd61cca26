"""Which files are masks of which DICOM images, by names."""

import numpy as np
import pytest
from PIL import Image
from support.layouts import image, mask, write_dicom
from support.prepared import ALL_IN_TRAINING

from meddistill.base.errors import InputError

pydicom = pytest.importorskip("pydicom")


def write_slices(folder, names, drawn, pixels=image, series="1.2.3", **more):
    """Slices 2.5 mm apart, by their names; `drawn`: pixels of each, else those of `pixels`."""
    for number, name in enumerate(names):
        stored = drawn[number] if drawn else pixels(number).astype(np.uint16) * 16
        tags = {
            "PatientID": "p",
            "SeriesInstanceUID": series,
            "PixelSpacing": [1.0, 1.0],
            "ImagePositionPatient": [0.0, 0.0, 2.5 * number],
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        }
        write_dicom(folder / name, stored, **{**tags, **more})


def marked(*numbers, count=4):
    """A mask a slice: BOX where its number is one of these."""
    return [mask(1).astype(np.uint16) * (number in numbers) for number in range(count)]


def annotations(cases):
    return {case.source.rsplit("/", 1)[-1]: case.annotation for case in cases.values()}


@pytest.mark.parametrize("start", ["I.00", "1.2.840.77."])
def test_a_number_at_the_end_of_a_name_is_no_ending(tmp_path, prepare, start):
    names = [f"{start}{number}" for number in range(1, 5)]
    write_slices(tmp_path / "s" / "images" / "P1", names, None)
    write_slices(tmp_path / "s" / "masks" / "P1", names, marked(1), series="1.2.9")
    _, cases, reasons = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert reasons == {}
    assert annotations(cases) == {name: "boxes" if name == names[1] else "none" for name in names}


def two_kinds(tmp_path):
    names = [f"IM{number}.dcm" for number in range(4)]
    write_slices(tmp_path / "s" / "P1", names, None)
    for number in range(4):
        for kind, drawn in (("liver", mask(1)), ("tumour", mask(1) * (number == 2))):
            path = tmp_path / "s" / "P1" / f"mask_{kind}" / f"IM{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(drawn * 255).save(path)
    return tmp_path / "s"


def test_several_masks_of_one_image_are_chosen_with_masks(tmp_path, prepare):
    source = two_kinds(tmp_path)
    told = r"IM0.dcm has 2 masks: P1/mask_liver/IM0.png, P1/mask_tumour/IM0.png; .*'mask_liver/\*'"
    with pytest.raises(InputError, match=told):
        prepare(source, **ALL_IN_TRAINING)
    _, cases, reasons = prepare(source, masks="mask_liver/*", **ALL_IN_TRAINING)
    assert (set(annotations(cases).values()), reasons) == ({"boxes"}, {})
    _, cases, _ = prepare(source, tmp_path / "b", masks="mask_tumour/*", **ALL_IN_TRAINING)
    assert sorted(annotations(cases).values()) == ["boxes", "none", "none", "none"]


@pytest.mark.parametrize("option", ["images", "masks"])
def test_a_pattern_that_fits_nothing_stops(tmp_path, prepare, option):
    with pytest.raises(InputError, match=f"--{option} 'nonsense' fits no {option[:-1]} of"):
        prepare(two_kinds(tmp_path), **{option: "nonsense"}, **ALL_IN_TRAINING)


def test_images_are_those_that_a_pattern_names(tmp_path, prepare, capsys):
    names = [f"IM{number}.dcm" for number in range(4)]
    write_slices(tmp_path / "s" / "ct", names, None)
    write_slices(tmp_path / "s" / "scout", names, None, series="1.2.4")
    write_slices(tmp_path / "s" / "masks" / "ct", names, marked(1), series="1.2.9")
    _, cases, _ = prepare(tmp_path / "s", images="ct/*", **ALL_IN_TRAINING)
    assert sorted(case.source for case in cases.values()) == [f"ct/{name}" for name in names]
    assert {case.annotation for case in cases.values()} == {"boxes", "none"}
    told = capsys.readouterr()
    assert "does not fit --images ct/*" in told.err + told.out


def test_a_mask_lies_on_its_image_or_is_refused_in_millimetres(tmp_path, prepare):
    names = [f"IM{number}.dcm" for number in range(6)]
    mirrored = {
        "ImageOrientationPatient": [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "ImagePositionPatient": [23.0, 0.0, 0.0],
    }
    write_slices(tmp_path / "s" / "images", names, None)
    write_slices(tmp_path / "s" / "masks", names[:1], marked(0), series="1.2.9", **mirrored)
    write_slices(tmp_path / "s" / "masks", names[3:0:-1], marked(0), series="1.2.9")  # 0 to 5 mm
    _, _, reasons = prepare(tmp_path / "s", accept=["mostly-rejected"], **ALL_IN_TRAINING)
    told = "mask lies {} mm from its image by its own header (frame 0 of {}); --accept moved takes it as"
    assert reasons == {
        f"images/{name}": told.format(mm, name) + " it is stored"
        for name, mm in zip(names, ("23.0", "2.5", "2.5", "7.5"), strict=False)
    }
    _, cases, reasons = prepare(tmp_path / "s", tmp_path / "b", accept=["moved"], **ALL_IN_TRAINING)
    assert (len(cases), reasons) == (6, {})


def test_a_mask_has_as_many_frames_as_its_image(tmp_path, prepare):
    for name, count in (("a", 5), ("b", 3)):
        frames = np.stack([image(number) for number in range(3)])
        write_dicom(tmp_path / "s" / "images" / f"{name}.dcm", frames, SeriesInstanceUID="1.2")
        drawn = np.stack([mask(1)] * count)
        write_dicom(tmp_path / "s" / "masks" / f"{name}.dcm", drawn)
    _, cases, reasons = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert len(cases) == 3
    assert reasons == {
        "images/a.dcm": "a.dcm has 3 frames, its mask a.dcm 5: give it one of as many"
    }


@pytest.mark.parametrize("ending", [".dcm", ".png", ""])
def test_a_mask_beside_its_image_is_one(tmp_path, prepare, ending):
    names = [f"IM{number}{ending.replace('png', 'dcm')}" for number in range(4)]
    write_slices(tmp_path / "s" / "P1", names, None)
    for number, drawn in enumerate(marked(1)):
        path = tmp_path / "s" / "P1" / f"IM{number}_mask{ending}"
        if ending == ".png":
            Image.fromarray((drawn * 255).astype(np.uint8)).save(path)
        else:
            write_dicom(path, drawn)
    _, cases, reasons = prepare(tmp_path / "s", **ALL_IN_TRAINING)
    assert annotations(cases) == {name: "boxes" if name == names[1] else "none" for name in names}
    assert reasons == {}


def test_masks_that_an_archive_stores_as_images_stop(tmp_path, prepare):
    """CBIS-DDSM: of each breast an image, a cut-out and a black and white file, each in a folder
    that no word says a mask of."""
    source = tmp_path / "s"
    for number in range(6):
        case = f"Mass-Training_P_{number:05}_LEFT_CC"
        pixels = image(number).astype(np.uint16)
        write_dicom(source / case / "1-1.dcm", pixels, PatientID=case)
        write_dicom(source / f"{case}_1" / "1-1.dcm", pixels[4:9, 3:12], PatientID=f"{case}_1")
        write_dicom(source / f"{case}_1" / "1-2.dcm", mask(), PatientID=f"{case}_1")
    told = r"6 of 18 DICOM files .* two values alone \(Mass-Training_P_00000_LEFT_CC_1/1-2.dcm"
    with pytest.raises(InputError, match=told):
        prepare(source)
    _, cases, _ = prepare(source, images="*_CC/1-1.dcm")
    assert len(cases) == 6
    assert {case.annotation for case in cases.values()} == {"unknown"}


def test_a_page_of_text_among_images_is_no_mask(tmp_path, prepare):
    for number in range(11):
        write_dicom(tmp_path / "s" / f"{number}.dcm", image(number).astype(np.uint16))
    write_dicom(tmp_path / "s" / "page.dcm", mask())
    _, cases, _ = prepare(tmp_path / "s")
    assert len(cases) == 12
