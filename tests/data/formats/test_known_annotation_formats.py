"""Every annotation format on the files of its miniature: known by its own, and by no other's."""

from types import SimpleNamespace

import pytest
from support.layouts import BOX, MAKERS, SIZE, make_folder

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, AnnotationFile
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS
from meddistill.data.sources.annotation_tables import AnnotationTables
from meddistill.data.sources.known_sources import SOURCES
from meddistill.data.sources.source import SourceOptions


def files_of(root, name):
    """The annotation files of a format's miniature that are not empty."""
    MAKERS[name](root / name)
    found = sorted((root / name).rglob(f"*{ANNOTATION_FORMATS[name].suffixes[0]}"))
    return [path for path in found if path.stat().st_size and path.name != "_classes.txt"]


@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_a_format_is_a_source_of_its_name_and_knows_its_own_files_alone(tmp_path, name):
    assert ANNOTATION_FORMATS[name].name == name == SOURCES[name].name
    for other in ANNOTATION_FORMATS:
        for path in files_of(tmp_path, other):
            assert bool(ANNOTATION_FORMATS[name].recognise(path)) is (other == name)


@pytest.mark.parametrize("name", ANNOTATION_FORMATS)
def test_objects_have_a_box_in_px_and_a_class(tmp_path, name):
    beside = KnownBeside({0: "cyst", 1: "tumour"}, (SIZE, SIZE))
    for path in files_of(tmp_path, name):
        content = ANNOTATION_FORMATS[name].read(path, beside)
        for image in content.images:
            assert image.looked_at or not image.objects
            for each in image.objects:
                assert each.box_xyxy_px == pytest.approx(BOX)
                assert each.class_name in content.classes


def test_a_new_tool_needs_no_layout_of_its_own(tmp_path):
    def read(path, beside=None):
        box = AnnotatedObject("mass", (1.0, 2.0, 9.0, 8.0))
        return AnnotationFile((AnnotatedImage("a.png", (box,)), AnnotatedImage("b.png", (), False)))

    tool = SimpleNamespace(
        name="tool",
        summary="a TOOL file",
        looks_like="TOOL file",
        suffixes=(".tool",),
        per_image=False,
        recognise=lambda path: "is a TOOL file",
        read=read,
    )
    source = AnnotationTables(tool)
    make_folder(tmp_path)
    with pytest.raises(InputError, match="holds no TOOL file, the layout of tool"):
        source.list_cases(tmp_path, SourceOptions())
    for path in (tmp_path / "masks").iterdir():
        path.unlink()
    (tmp_path / "all.tool").write_text("")
    assert source.recognise(tmp_path) == "all.tool is a TOOL file"
    first, second = source.list_cases(tmp_path, SourceOptions()).cases
    assert (first.boxes_xyxy_px, first.class_name) == (((1.0, 2.0, 9.0, 8.0),), "mass")
    assert second.boxes_xyxy_px is None  # nobody looked
