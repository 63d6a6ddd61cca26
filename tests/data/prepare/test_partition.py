"""Which strata the drawn splits are balanced by."""

import dataclasses
from collections import Counter
from types import SimpleNamespace

import pytest

from meddistill.base.errors import ConfigError
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.counts import describe, summarise
from meddistill.data.prepare.partition import partition
from meddistill.data.raw_case import RawCase
from meddistill.settings.prepare import PrepareConfig


def drawn(stratify):
    """Test cases by class: 30 of `a` (10 of each size) and 30 of `b`, each its own group, a fifth
    for testing."""
    good = []
    for index in range(60):
        name = f"{index:02d}"
        case = RawCase(name, f"{name}.png", SimpleNamespace(files=()), class_name="ab"[index // 30])
        good.append(
            (
                case,
                Converted(
                    name, height=8, width=8, lesion_share=0.01 * (1 + index % 3), has_mask=True
                ),
            )
        )
    config = PrepareConfig(source="x", stratify=stratify, val_fraction=0.0)
    rows, results = partition(good, config, seed=1, previous={})
    test = [row for row in rows if row.split == "test"]
    return Counter(row.class_name for row in test), Counter(
        results[row.case_id].lesion_share for row in test
    )


@pytest.mark.parametrize(("stratify", "sizes_too"), [("class", False), ("class+size", True)])
def test_classes_get_their_share_and_sizes_where_asked(stratify, sizes_too):
    classes, sizes = drawn(stratify)
    assert classes == {"a": 6, "b": 6}
    assert (sorted(sizes.values()) == [4, 4, 4]) is sizes_too


def test_nothing_is_balanced_where_that_is_asked():
    classes, _ = drawn("none")
    assert classes.total() == 12
    assert classes != {"a": 6, "b": 6}


def boxed(count, val_fraction=0.5, **settings):
    """Boxed images by split of 100 images in groups of 5, a tenth of them without a lesion, a fifth
    in validation."""
    good = []
    for index in range(100):
        name = f"{index:03d}"
        case = RawCase(name, f"{name}.png", SimpleNamespace(files=()), group=f"g{index // 5}")
        boxes = () if index % 10 == 0 else ((1.0, 1.0, 4.0, 4.0),)
        annotation = "boxes" if boxes else "none"
        result = Converted(name, height=8, width=8, boxes=boxes, annotation=annotation)
        good.append((case, result))
    config = PrepareConfig(
        source="x", box_count=count, test_fraction=0.0, val_fraction=val_fraction, **settings
    )
    rows, _ = partition(good, config, seed=1, previous={})
    return rows, Counter((row.split, row.annotation) for row in rows)


def test_few_boxes_all_train_and_leave_nothing_to_choose_by():
    rows, counts = boxed(12)
    assert counts[("train", "boxes")] == 12
    assert not counts[("val", "boxes")]
    assert {row.annotation for row in rows} == {"boxes", "unknown"}
    # Whole groups, the last one cut short.
    groups = Counter(row.group for row in rows if row.annotation == "boxes")
    assert sum(count < 4 for count in groups.values()) <= 1


def test_of_many_a_fifth_serves_to_choose_by():
    _, counts = boxed(40)
    assert (counts[("train", "boxes")], counts[("val", "boxes")]) == (32, 8)


def test_without_a_validation_split_all_of_them_train():
    _, counts = boxed(40, val_fraction=0.0)
    assert counts[("train", "boxes")] == 40


def test_more_boxes_asked_for_than_there_are_keep_all():
    _, counts = boxed(1000)
    assert counts[("train", "boxes")] + counts[("val", "boxes")] == 90


@pytest.mark.parametrize(("thin_validation", "of_validation"), [(True, 2), (False, 10)])
def test_a_share_of_the_groups_of_training_and_validation_keeps_its_boxes(
    thin_validation, of_validation
):
    rows, _ = boxed(0, box_fraction=0.2, thin_validation=thin_validation)
    looked_at = {(row.split, row.group) for row in rows if row.annotation != "unknown"}
    assert Counter(split for split, _ in looked_at) == {"train": 2, "val": of_validation}


def test_fewer_boxes_than_were_asked_for_are_said(capfd):
    boxed(12)
    assert "box_count" not in capfd.readouterr().err
    _, counts = boxed(1000)
    kept = counts[("train", "boxes")] + counts[("val", "boxes")]
    told = " ".join(capfd.readouterr().err.split())
    assert f"box_count is 1000, but only {counts[('train', 'boxes')]} training images" in told
    assert f"{kept} are kept" in told


def test_all_that_a_person_drew_is_counted():
    rows, _ = boxed(12)
    of_test = [dataclasses.replace(row, split="test", has_mask=False) for row in rows[:3]]
    told = describe(summarise([*rows, *of_test], [], 0))
    boxes = sum(row.annotation == "boxes" for row in of_test)
    assert (
        f"kept: boxes on {12 + boxes} images: 12 in training, 0 in validation, {boxes} in test"
        in told
    )
    masked = [dataclasses.replace(row, has_mask=True) for row in of_test]
    told = describe(summarise([*rows, *masked], [], 0))
    assert "boxes on 12 images: 12 in training, 0 in validation\n" in f"{told}\n"


def test_two_ways_of_thinning_are_one_too_many():
    with pytest.raises(ConfigError, match="give one of them"):
        PrepareConfig(box_count=20, box_fraction=0.5)
