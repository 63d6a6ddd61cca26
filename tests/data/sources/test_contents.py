"""Where names say nothing, a few files are looked into; where nothing helps, the refusal says why."""

import zipfile

import pytest
from support.layouts import image, mask, save

from meddistill.base.errors import InputError
from meddistill.data.sources.contents import looks_like_mask
from meddistill.data.sources.known_sources import choose_source
from meddistill.data.sources.source import SourceOptions

KINDS = {
    "folders of unknown names": ("photos/{}.png", "dots/{}.png"),
    "endings": ("{}.jpg", "{}.png"),
    "a suffix": ("{}.png", "{}_dots.png"),
    "a prefix": ("a_{}.png", "b_{}.png"),
    "case folders": ("p0{}/photo.png", "p0{}/dots.png"),
    "splits": ("train_img/{}.jpg", "train_lab/{}.png"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_known_by_what_they_hold(tmp_path, kind):
    first, second = KINDS[kind]
    for number in range(1, 7):
        save(tmp_path / first.format(number), image(number))
        save(tmp_path / second.format(number), mask())
    source, _ = choose_source("auto", tmp_path)
    cases = source.list_cases(tmp_path, SourceOptions()).cases
    found = {case.image.path: case.mask.files for case in cases if case.mask}
    assert found == {
        tmp_path / first.format(n): (tmp_path / second.format(n),) for n in range(1, 7)
    }


def test_what_looks_like_a_mask(tmp_path):
    save(tmp_path / "m.png", mask())
    save(tmp_path / "m.jpg", mask(), quality=95)
    save(tmp_path / "i.png", image())
    save(tmp_path / "black.png", mask(0))
    names = ("m.png", "m.jpg", "i.png", "black.png")
    assert [looks_like_mask(tmp_path / name) for name in names] == [True, True, False, None]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"is empty: it has none of the layouts"),
        (["images.zip"], r"holds archives \(images.zip\), which must be unpacked first"),
        (["a.docx", "b.docx", "c.pdf"], r"holds 2 \.docx, 1 \.pdf, and no picture or scan"),
    ],
)
def test_a_refusal_says_what_the_folder_seems_to_be(tmp_path, names, message):
    (tmp_path / "source").mkdir()
    touch(tmp_path / "source", *names)
    with pytest.raises(InputError, match=message):
        choose_source("auto", tmp_path / "source")


def test_unknown_annotations_beside_are_no_images_alone(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number}.png", image(number))
        (tmp_path / f"{number}.json").write_text('{"strange": 1}')
    with pytest.raises(
        InputError, match=r"4 \.json files with their names \(0.json, .*--dataset folder"
    ):
        choose_source("auto", tmp_path)
    assert choose_source("folder", tmp_path)[0].name == "folder"


def test_an_archive_is_to_be_unpacked(tmp_path):
    zipfile.ZipFile(tmp_path / "data.zip", "w").close()
    with pytest.raises(InputError, match=r"data.zip is an archive: unpack it, and give the folder"):
        choose_source("auto", tmp_path / "data.zip")


def test_masks_by_contents_that_find_no_image_are_no_images(tmp_path):
    """Two people's masks of each image, by endings that say nothing."""
    for number in range(4):
        save(tmp_path / f"Image_{number:02}L.jpg", image(number))
        for who in ("1stHO", "2ndHO"):
            save(tmp_path / f"Image_{number:02}L_{who}.png", mask())
    source = choose_source("auto", tmp_path)[0]
    with pytest.raises(InputError, match=r"--masks '.*1stHO.png' or --masks '.*2ndHO.png'"):
        source.list_cases(tmp_path, SourceOptions())
    listing = source.list_cases(tmp_path, SourceOptions(masks="*2ndHO.png"))
    assert len(listing.cases) == 4


def test_what_looks_like_masks_and_is_nobodys_stops(tmp_path):
    for number in range(4):
        save(tmp_path / "a" / f"{'qwer'[number]}.png", image(number))
        save(tmp_path / "b" / f"{'asdf'[number]}.png", mask())
    source = choose_source("auto", tmp_path)[0]
    with pytest.raises(InputError, match=r"4 files that look like masks \(b/\*.png\) beside 4"):
        source.list_cases(tmp_path, SourceOptions())
    assert len(source.list_cases(tmp_path, SourceOptions(images="*")).cases) == 8


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("t.csv", "image_id,score\n{}", "t.csv names the images (columns image_id, score)"),
        ("boxes.txt", "image,x1,y1,x2,y2\n{}", "boxes.txt names the images, and no box in it"),
        ("export.ndjson", '{{"id": 1}}\n{}', "export.ndjson names the images, and no box in it"),
    ],
)
def test_a_list_of_the_images_that_tells_nothing_known_is_pointed_at(tmp_path, name, text, told):
    for number in range(4):
        save(tmp_path / f"scan{number}.png", image(number))
    rows = "".join(f"scan{number}.png,0.5\n" for number in range(4))
    (tmp_path / name).write_text(text.format(rows))
    listing = choose_source("auto", tmp_path)[0].list_cases(tmp_path, SourceOptions())
    (reading,) = listing.understood.readings
    assert reading.startswith(told)


def test_told_images_go_before_contents(tmp_path):
    for number in range(1, 6):
        save(tmp_path / "a" / f"{number}.png", image(number))
        save(tmp_path / "b" / f"{number}.png", image(number + 9))
        save(tmp_path / "c" / f"{number}.png", mask())
    source = choose_source("auto", tmp_path)[0]
    listing = source.list_cases(tmp_path, SourceOptions(images="a/*"))
    assert {case.source for case in listing.cases} == {f"a/{n}.png" for n in range(1, 6)}
    assert all(case.mask for case in listing.cases)
    assert len(listing.understood.unused) == 5
