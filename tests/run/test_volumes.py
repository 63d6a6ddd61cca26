"""Slices that know their volume, and which of them are drawn for training."""

import dataclasses

import pytest

from meddistill.run.tables import Case
from meddistill.run.volumes import drawn_for_training, stacks, volume_of_source


@pytest.mark.parametrize(
    ("source", "volume"),
    [
        ("labels/brain.nii.gz#axial12", "labels/brain.nii.gz"),
        ("scan.nii#coronal3", "scan.nii"),
        ("scan.nrrd#axial0", "scan.nrrd"),
        ("patient1/ct/IM0001.dcm", "patient1/ct"),
        ("loop.dcm#4", "loop.dcm"),
        ("image/1/0809.jpg", ""),
        ("strange#1.png", ""),
    ],
)
def test_slices_know_their_volume(source, volume):
    assert volume_of_source(source) == volume


def slice_of(volume, number, annotation="none", split="train"):
    boxes = int(annotation == "boxes")
    case = Case(
        *(f"{volume}_{number}", split, volume, "", annotation, False, "i.png", 8, 8, boxes),
        *("", "s", "0" * 64),
    )
    return dataclasses.replace(case, volume=volume, slice=number)


def test_stacks_are_in_the_order_of_their_slices():
    cases = [slice_of("a", 10), slice_of("b", 0), slice_of("a", 9)]
    cases.append(dataclasses.replace(slice_of("c", 0), volume="", slice=None))
    found = {name: [case.slice for case in slices] for name, slices in stacks(cases).items()}
    assert found == {"a": [9, 10], "b": [0]}


def test_training_draws_a_share_of_the_empty_slices_and_all_others():
    cases = [slice_of("a", number) for number in range(200)]
    cases += [slice_of("b", 0, "boxes"), slice_of("b", 1, "unknown"), slice_of("c", 0, split="val")]
    drawn = drawn_for_training(cases, 0.1)
    assert drawn[-3:] == cases[-3:]
    assert 8 <= len(drawn) - 3 <= 35
    assert drawn == drawn_for_training(cases, 0.1)
    assert set(drawn) <= set(drawn_for_training(cases, 0.3))
    assert drawn_for_training(cases, 1.0) == cases
    alone = [dataclasses.replace(case, volume="", slice=None) for case in cases]
    assert drawn_for_training(alone, 0.0) == alone
