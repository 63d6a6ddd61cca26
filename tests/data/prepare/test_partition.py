"""Which strata the drawn splits are balanced by."""

from collections import Counter
from types import SimpleNamespace

import pytest

from meddistill.data.prepare.convert import Converted
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
