"""One listing of a folder, whatever its links lead to."""

import os

import pytest

from meddistill.base.paths import printable
from meddistill.data.sources.walking import any_file, image_files, listed_once, walk_files


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def names_in(files, root):
    return [path.relative_to(root).as_posix() for path in files]


def test_files_come_in_the_order_of_their_paths(tmp_path):
    touch(tmp_path, "a.png", "a/x.png", "a/b/y.png", "b.png", "A.png", "a-1.png")
    files, _ = walk_files(tmp_path, tmp_path)
    assert files == sorted(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("target", [".", "masks", ".."])
def test_a_link_back_is_not_followed(tmp_path, target):
    root = tmp_path / "source"
    touch(root, "images/1.png", "masks/1.png")
    os.symlink((root / target).resolve(), root / "images" / "again")
    with listed_once(root):
        files, _ = image_files(root / "images", root)
    assert names_in(files, root) == ["images/1.png"]
    files, odd = image_files(root, root)
    assert names_in(files, root) == ["images/1.png", "masks/1.png"]
    assert [(row.source, row.reason) for row in odd] == [
        ("images/again", "a link back into the source, not followed")
    ]


def test_what_is_found_of_one_listing_is_what_is_found_of_the_disk(tmp_path):
    touch(tmp_path, "a/TCGA_1_mask.tif", "a/b/c/x.dcm", "labels/1.txt", "benign (1)_mask.png")
    touch(tmp_path, "a/b/c/d/e/f/g/x.nii.gz")
    assert any_file(tmp_path, "*.nii.gz") == tmp_path / "a/b/c/d/e/f/g/x.nii.gz"
    for patterns in (
        ["TCGA_*_mask.tif"],
        ["*.nii.gz"],
        ["*.dcm"],
        ["labels"],
        ["benign (*)_mask.png"],
        ["z"],
    ):
        on_disk = any_file(tmp_path, *patterns)
        with listed_once(tmp_path):
            assert any_file(tmp_path, *patterns) == on_disk


def test_what_macs_leave_is_no_picture(tmp_path):
    touch(tmp_path, "1.png", "._1.png", "__MACOSX/1.png", ".DS_Store")
    files, odd = image_files(tmp_path, tmp_path)
    assert names_in(files, tmp_path) == ["1.png"]
    assert [row.source for row in odd] == ["._1.png"]


def test_control_characters_reach_no_terminal():
    assert printable("a\x1b[31mb\u202e.png\n") == "a\\x1b[31mb\\u202e.png\\n"
    assert printable("Gefäß 1.png") == "Gefäß 1.png"
