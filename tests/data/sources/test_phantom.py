"""The sample data: shapes, masks that fit the picture, groups, determinism, and that a filled box
is no good answer."""

import csv
from collections import defaultdict

import numpy as np
import pytest
from skimage.measure import label, regionprops

from meddistill.base.errors import ConfigError
from meddistill.data.formats.pictures import read_rgb
from meddistill.data.masks import read_mask
from meddistill.data.sources.phantom import SLICES_PER_GROUP, draw_slice, write_phantom
from meddistill.data.sources.phantom_heads import CLASSES


@pytest.fixture(scope="module")
def slices():
    return [draw_slice(np.random.default_rng(seed)) for seed in range(60)]


def test_slice_has_the_promised_types(slices):
    for image, mask, class_name in slices:
        assert (image.dtype, image.shape) == (np.uint8, (256, 256))
        assert (mask.dtype, mask.shape) == (np.bool_, (256, 256))
        assert class_name in CLASSES
        assert mask.any() == (class_name != "none")


def test_same_rng_state_gives_the_same_slice():
    image, mask, _ = draw_slice(np.random.default_rng(5), size=96)
    again, mask_again, _ = draw_slice(np.random.default_rng(5), size=96)
    other, _, _ = draw_slice(np.random.default_rng(6), size=96)
    assert np.array_equal(image, again)
    assert np.array_equal(mask, mask_again)
    assert not np.array_equal(image, other)


def test_about_a_tenth_is_healthy_and_the_kinds_all_occur(slices):
    kinds = [class_name for _, _, class_name in slices]
    assert 0.03 <= kinds.count("none") / len(kinds) <= 0.2
    assert set(kinds) == set(CLASSES)


def test_lesions_are_one_or_two_pieces_of_varied_size(slices):
    pieces = [label(mask).max() for _, mask, _ in slices if mask.any()]
    shares = [mask.mean() for _, mask, _ in slices if mask.any()]
    assert set(pieces) == {1, 2}
    assert 0.0005 < min(shares) < 0.006
    assert 0.02 < max(shares) < 0.08


def test_lesions_lie_inside_the_head_and_differ_from_what_is_around_them(slices):
    for image, mask, class_name in slices:
        if class_name != "solid":
            continue
        ring = _grown(mask, 8) & ~_grown(mask, 2)
        assert np.median(image[mask]) > 1.15 * np.median(image[ring])
        assert mask[8:-8, 8:-8].sum() == mask.sum()


def test_a_filled_box_is_clearly_worse_than_a_mask(slices):
    scores = []
    for _, mask, _ in slices:
        if mask.any():
            boxes = np.zeros_like(mask)
            for region in regionprops(label(mask)):
                boxes[region.slice] = True
            scores.append(2 * (boxes & mask).sum() / (boxes.sum() + mask.sum()))
    assert 0.72 < np.mean(scores) < 0.82


def test_background_is_rician_not_black(slices):
    corner = np.concatenate([image[:12, :12].ravel() for image, _, _ in slices]).astype(float)
    assert 1 < corner.mean() < 15  # Rayleigh noise of deviation 0.012 to 0.03 of full scale


def test_written_source_is_a_folder_layout_with_groups(tmp_path):
    cases = 2 * SLICES_PER_GROUP + 1
    write_phantom(tmp_path, cases=cases, seed=3, size=96)
    with (tmp_path / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "group", "class"]
    assert len({row["id"] for row in rows}) == cases
    by_group = defaultdict(list)
    for row in rows:
        by_group[row["group"]].append(row["id"])
        image, mask = (
            read_rgb(tmp_path / f"images/{row['id']}.png"),
            read_mask(tmp_path / f"masks/{row['id']}.png"),
        )
        assert image.shape == (96, 96, 3)
        assert mask.shape == (96, 96)
        assert mask.any() == (row["class"] != "none")
    assert [len(ids) for ids in by_group.values()] == [SLICES_PER_GROUP, SLICES_PER_GROUP, 1]


def test_slices_of_a_group_show_the_same_head(tmp_path):
    write_phantom(tmp_path, cases=2 * SLICES_PER_GROUP, seed=1, size=96)
    files = sorted((tmp_path / "images").glob("*.png"))
    images = [read_rgb(path)[..., 0].astype(float) for path in files]
    within = np.corrcoef(images[0].ravel(), images[1].ravel())[0, 1]
    between = np.corrcoef(images[0].ravel(), images[SLICES_PER_GROUP].ravel())[0, 1]
    assert not np.array_equal(images[0], images[1])
    assert within > 0.9 > between


def test_more_cases_only_add_heads(tmp_path):
    write_phantom(tmp_path / "few", cases=3, seed=2, size=64)
    write_phantom(tmp_path / "many", cases=6, seed=2, size=64)
    few = sorted((tmp_path / "few/images").iterdir())
    assert len(few) == 3
    for path in few:
        assert path.read_bytes() == (tmp_path / "many/images" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"cases": 0}, "at least 1 case"), ({"cases": 1, "size": 32}, "at least 64 px")],
)
def test_impossible_requests_are_refused(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        write_phantom(tmp_path, seed=0, **settings)


def _grown(mask, by):
    shifts = [(dy, dx) for dy in range(-by, by + 1) for dx in range(-by, by + 1)]
    return np.any([np.roll(mask, shift, (0, 1)) for shift in shifts], axis=0)
