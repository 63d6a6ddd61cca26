"""What is written for a label tool is read back: the same boxes, the same unknown images, the same
"nothing there"."""

from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from meddistill.data.annotations import AnnotatedImage, AnnotatedObject, classes_of
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.known_annotation_formats import ANNOTATION_FORMATS
from meddistill.data.formats.known_annotation_writers import ANNOTATION_WRITERS
from meddistill.data.formats.shapes import Shapes
from meddistill.data.image_names import ImageNames
from meddistill.data.mask_outlines import object_with_mask, outlines

HEIGHT, WIDTH = 90, 120
SIZE_HW = HEIGHT, WIDTH
# What a file system and XML can hold; case ids are plainer still.
LETTERS = st.characters(categories=["L", "N", "P", "S", "Zs"], exclude_characters="/\\\0")
STEMS = st.text(LETTERS, min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and name.strip(".") and len(name.encode()) < 200
)
CLASSES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


@st.composite
def boxes(draw):
    """In hundredths of a pixel, as RUN/data has them."""
    x1, x2 = sorted(
        draw(st.lists(st.integers(0, WIDTH * 100), min_size=2, max_size=2, unique=True))
    )
    y1, y2 = sorted(
        draw(st.lists(st.integers(0, HEIGHT * 100), min_size=2, max_size=2, unique=True))
    )
    return x1 / 100, y1 / 100, x2 / 100, y2 / 100


@st.composite
def sets_of_images(draw):
    stems = draw(st.lists(STEMS, min_size=1, max_size=4, unique_by=lambda name: _same(name)))
    found = []
    for stem in stems:
        objects = tuple(
            AnnotatedObject(draw(CLASSES), box) for box in draw(st.lists(boxes(), max_size=3))
        )
        looked_at = bool(objects) or draw(st.booleans())
        found.append(AnnotatedImage(stem, objects, looked_at, SIZE_HW))
    return found


def _same(name):
    import unicodedata

    return unicodedata.normalize("NFC", name).casefold().replace(" ", "_")


def written(folder, tool, images):
    writer = ANNOTATION_WRITERS[tool]
    placed = [
        AnnotatedImage(
            writer.place(f"{each.image}.png", "train"), each.objects, each.looked_at, SIZE_HW
        )
        for each in images
    ]
    writer.write(folder, placed, classes_of(placed) or ("lesion",))
    return placed


def read_back(folder, tool, placed):
    """By where an image lies: its boxes with their classes, None where nobody looked."""
    reader = ANNOTATION_FORMATS[ANNOTATION_WRITERS[tool].source]
    names = ImageNames([each.image for each in placed])
    found = {each.image: None for each in placed}
    numbers = dict(enumerate(classes_of(placed) or ("lesion",)))
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in reader.suffixes:
            continue
        if not reader.recognise(path) and path.stat().st_size:
            continue
        content = reader.read(path, KnownBeside(numbers, SIZE_HW, lambda name: SIZE_HW))
        for said in content.images:
            index = names.find(said.image or path.with_suffix("").relative_to(folder).as_posix())
            if said.looked_at:
                found[placed[index].image] = sorted(
                    (each.class_name, *each.box_xyxy_px) for each in said.objects
                )
    return found


def expected(placed):
    return {
        each.image: sorted((one.class_name, *one.box_xyxy_px) for one in each.objects)
        if each.looked_at
        else None
        for each in placed
    }


@pytest.mark.parametrize("tool", ANNOTATION_WRITERS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(images=sets_of_images())
def test_any_names_and_boxes_come_back(tool, images, tmp_path_factory):
    sides = [max(each.box_xyxy_px) for image in images for each in image.objects]
    # A table whose boxes all lie within the first pixels is read as shares, which its reader says.
    assume(not sides or max(sides) > 1.5)
    folder = tmp_path_factory.mktemp("written")
    placed = written(folder, tool, images)
    found, wanted = read_back(folder, tool, placed), expected(placed)
    for name, objects in wanted.items():
        assert (found[name] is None) == (objects is None)
        for mine, other in zip(objects or (), found[name] or (), strict=True):
            assert mine[0] == other[0]
            assert other[1:] == pytest.approx(mine[1:], abs=0.001)


def blob(seed):
    """A mask of two parts, one of them ragged."""
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[10:40, 20:60] = np.random.default_rng(seed).random((30, 40)) > 0.3
    mask[60:70, 80:100] = True
    return mask


def test_outlines_hold_the_pixels_of_the_mask_and_its_box():
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[10:20, 30:50] = True
    mask[15:30, 45:60] = True
    polygons, has_hole = outlines(mask)
    assert not has_hole
    assert (Shapes(SIZE_HW, polygons).load() == mask).all()
    assert object_with_mask("m", (0, 0, WIDTH, HEIGHT), mask).polygons_xy_px == polygons
    xs, ys = polygons[0][::2], polygons[0][1::2]
    assert (min(xs), min(ys), max(xs), max(ys)) == (30, 10, 60, 30)


def test_outlines_of_nothing_and_of_a_ring():
    assert outlines(np.zeros(SIZE_HW, dtype=bool)) == ((), False)
    ring = np.ones((9, 9), dtype=bool)
    ring[3:6, 3:6] = False
    polygons, has_hole = outlines(ring)
    assert len(polygons) == 1
    assert has_hole


@pytest.mark.parametrize("seed", [0, 1])
def test_coco_brings_masks_back_to_the_pixel_and_keeps_the_boxes(tmp_path, seed):
    mask = blob(seed)
    box = (15.5, 5.0, 62.25, 45.0)
    image = AnnotatedImage("a", (object_with_mask("m", box, mask),), True, SIZE_HW)
    placed = written(tmp_path, "coco", [image])
    (path,) = tmp_path.glob("*.json")
    ((found,),) = (each.objects for each in ANNOTATION_FORMATS["coco"].read(path).images)
    assert read_back(tmp_path, "coco", placed) == expected(placed)
    inside = mask.copy()
    inside[:, 63:] = False
    runs = () if found.run_lengths is None else (found.run_lengths,)
    assert (Shapes(SIZE_HW, found.polygons_xy_px, runs).load() == inside).all()


@pytest.mark.parametrize(
    "tool", [name for name, each in ANNOTATION_WRITERS.items() if each.holds_masks]
)
def test_a_mask_becomes_a_shape_of_every_tool_that_has_shapes(tmp_path, tool):
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[10:30, 20:50] = True
    image = AnnotatedImage("a", (object_with_mask("m", (18, 8, 52, 32), mask),), True, SIZE_HW)
    placed = written(tmp_path, tool, [image])
    ((name, objects),) = read_back(tmp_path, tool, placed).items()
    assert PurePosixPath(name).stem == "a"
    wanted = (18, 8, 52, 32) if tool == "coco" else (20, 10, 50, 30)
    assert objects[0][1:] == pytest.approx(wanted, abs=0.01)


def test_what_nobody_looked_at_is_a_prediction_where_the_tool_knows_them(tmp_path):
    image = AnnotatedImage("a", (AnnotatedObject("m", (1, 2, 3, 4)),), False, SIZE_HW)
    for tool, writer in ANNOTATION_WRITERS.items():
        folder = tmp_path / tool
        placed = written(folder, tool, [image])
        assert read_back(folder, tool, placed) == {placed[0].image: None}
        texts = "".join(path.read_text() for path in folder.rglob("*.*") if path.is_file())
        assert ("predictions" in texts and '"x"' in texts) is writer.holds_predictions
