"""Which picture is meant by what tools call it."""

import time

import pytest

from meddistill.base.errors import InputError
from meddistill.data.image_names import ImageNames, may_be_one_image

SOURCES = ["images/a.png", "images/b c.JPG", "p1/scan.png", "p2/scan.png", "café.png"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a.png", 0),
        ("images\\a.png", 0),
        ("..\\..\\label-studio\\media\\upload\\4\\1234abcd-a.png", 0),
        ("/data/local-files/?d=images%2Fa.png", 0),
        ("https://host:8080/data/images/a.png?token=x", 0),
        ("s3://bucket/images/a.png", 0),
        ("C:\\Users\\me\\a.PNG", 0),
        ("a", 0),
        ("/home/me/a.jpg", 0),
        ("b%20c.jpg", 1),
        ("/data/upload/1/0000ffff-b_c.JPG", 1),
        ("p2/scan.png", 3),
        ("D:\\all\\p1\\scan.png", 2),
        ("cafe\u0301.png", 4),
    ],
)
def test_a_name_leads_to_its_picture(name, meant):
    assert ImageNames(SOURCES).find(name) == meant


@pytest.mark.parametrize(
    "name", ["d.png", "../../outside.png", "", "/", "scan.1.png", "imagesa.png"]
)
def test_no_picture_is_an_error(name):
    with pytest.raises(InputError, match="no image file"):
        ImageNames(SOURCES).find(name)


def test_a_name_of_two_pictures_is_told_by_the_folder_of_its_file_or_an_error():
    names = ImageNames(SOURCES)
    assert names.find("scan.png", "p2") == 3
    with pytest.raises(InputError, match=r"2 image files are called scan\.png"):
        names.find("scan.png", "annotations")
    names = ImageNames(["ds0/img/a.png", "ds1/img/a.png"])
    assert [names.find("a.png", f"ds{number}/ann") for number in (0, 1)] == [0, 1]


def test_thousands_of_one_name_are_found_as_quickly_as_others():
    sources = [f"data/case_{number}/image.png" for number in range(2000)]
    names, began = ImageNames(sources), time.process_time()
    assert [names.find(source) for source in sources] == list(range(2000))
    folders = [f"data/case_{number}" for number in range(2000)]
    assert [names.find("image.png", folder) for folder in folders] == list(range(2000))
    assert time.process_time() - began < 5


def test_names_that_differ_in_case_alone_are_told_apart():
    names = ImageNames(["A.png", "a.png"])
    assert [names.find("A.png"), names.find("a.png")] == [0, 1]
    with pytest.raises(InputError, match="2 image files"):
        names.find("a.PNG")


def test_two_prefixes_that_differ_are_two_pictures():
    names = ImageNames(["20210301-p0.png", "1234abcd-q_0.png"])
    assert [names.find("p0.png"), names.find("1234abcd-q 0.png"), names.find("q_0.png")] == [
        0,
        1,
        1,
    ]
    with pytest.raises(InputError, match="no image file"):
        names.find("20220301-p0.png")
    assert may_be_one_image("20210301-p0.png", "p0.png")
    assert not may_be_one_image("20210301-p0.png", "20220301-p0.png")


def test_a_picture_goes_by_its_own_stem_beside_the_name_that_it_was_given():
    names = ImageNames(["s1/0.dcm", "s2/1.dcm"], ["s1_0", "s2_1"])
    assert [names.find("s1_0"), names.find("1"), names.find("s2/1.dcm")] == [0, 1, 1]


@pytest.mark.parametrize(
    "ending", ["png", "dcm", "dicom", "ima", "nii", "nii.gz", "nhdr", "mha", "TIFF"]
)
def test_the_ending_of_every_format_may_be_missing(ending):
    assert ImageNames([f"train/9a50.{ending}"]).find("9a50") == 0


def test_a_name_may_begin_with_its_folder():
    """DeepLesion, as it is unpacked and as its table names it."""
    names = ImageNames(["p/01_01/109.png", "p/01_01/110.png", "q/02_01/109.png", "r/02_01/109.png"])
    assert [names.find("01_01_109.png"), names.find("01_01_110")] == [0, 1]
    assert sum(names.rules.values()) == 2
    with pytest.raises(InputError, match="2 image files"):
        names.find("02_01_109.png")
    # What is called so itself goes first.
    assert ImageNames(["01/1.png", "01_1.png"]).find("01_1.png") == 1


def test_what_was_not_its_own_spelling_is_counted():
    names = ImageNames(SOURCES)
    for name in ("a.png", "images/a.png", "0000ffff-a.png", "a"):
        names.find(name)
    assert sum(names.rules.values()) == 2


@pytest.mark.parametrize(
    ("first", "second", "may"),
    [
        ("a.png", "images\\a.png", True),
        ("1234abcd-a.png", "a.png", True),
        ("a", "a.png", True),
        ("a.png", "a.jpg", False),
        ("p1/scan.png", "p2/scan.png", False),
        ("a.png", "b.png", False),
    ],
)
def test_two_names_of_one_picture(first, second, may):
    assert may_be_one_image(first, second) is may
