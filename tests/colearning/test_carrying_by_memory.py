"""Boxes carried through a volume by a teacher that remembers, and by a small SAM 2."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_dilation
from support.painting_teacher import PaintingTeacher
from support.small_sam2 import sees, small_yaml

from meddistill.colearning.carried_prompts import Carrying
from meddistill.colearning.carrying import carry
from meddistill.run.dataset import Dataset
from meddistill.run.tables import Case
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.cache import load_target
from meddistill.targets.making import TargetMaker
from meddistill.targets.requests import TargetRequest
from meddistill.teachers import sam2
from meddistill.teachers.teacher import BoxMasks, Encoded

SIDE, SLICES, BODY = 48, 16, range(3, 13)
CONFIG = TargetsConfig(jitter_copies=2)


def body(number, left):
    """A disc that moves by a pixel from slice to slice, left or right of the middle."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    middle = 12 if left else 36
    return (rows - 14 - number) ** 2 + (columns - middle) ** 2 < 49


def box_of(number, left=True):
    rows, columns = np.nonzero(body(number, left))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """The unboxed slices of one volume, two bodies in its middle slices."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    found = []
    for number in range(SLICES):
        image = rng.integers(0, 60, (SIDE, SIDE)).astype(np.uint8)
        if number in BODY:
            image[body(number, True)] = 200
            image[body(number, False)] = 230
        path = data / f"s{number:02}.png"
        Image.fromarray(image).convert("RGB").save(path)
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        of_volume = {"volume": "v", "slice": number}
        found.append(
            Case(
                *(path.stem, "train", "v", "c", "unknown", False, path.name, SIDE, SIDE),
                *(0, "", "s", sha),
                **of_volume,
            )
        )
    return Dataset(data, found)


class Remembering(PaintingTeacher):
    """Follows what is bright around the mask of the slice before. `walks`: the slices that it saw, a
    list a walk."""

    fingerprint = "remembering-1"
    stop_after = None

    def __init__(self):
        self.walks = []

    @property
    def memory(self):
        return self

    def encode(self, images):
        pictures = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
        sizes = [image.shape[:2] for image in images]
        return Encoded({"embedding": pictures}, [(1, 1)] * len(images), sizes)

    def begin(self, boxes):
        self.walks.append([])
        return _Track(self, boxes, self.walks[-1])


class _Track:
    def __init__(self, teacher, boxes, walk):
        self.teacher, self.boxes, self.walk, self.masks = teacher, boxes, walk, None

    def see(self, encoded):
        if self.teacher.stop_after == sum(map(len, self.teacher.walks)):
            raise KeyboardInterrupt
        image = encoded.features["embedding"][0, 0].numpy()
        self.walk.append(image.astype(np.uint8))
        if self.masks is None:
            painted = self.teacher.decode(encoded, [self.boxes])[0].logits > 0
            self.masks = [(image > 120) & mask for mask in painted.numpy()]
        else:
            near = [binary_dilation(mask, iterations=2) for mask in self.masks]
            self.masks = [(image > 120) & mask for mask in near]
        masks = torch.from_numpy(np.array(self.masks))
        ious = torch.where(masks.flatten(1).any(1), 0.9, 0.1)
        return BoxMasks(torch.where(masks, 8.0, -8.0), ious)


def carried(cases, folder, teacher, boxes, *, empty=(), finding="", config=CONFIG, levels=()):
    """Rows of the slices that were reached from `boxes` (slice -> boxes), by slice."""
    maker = TargetMaker(teacher, cases, folder, config, batch_size=1)
    boxes = {f"s{number:02}": np.array(found, np.float32) for number, found in boxes.items()}
    known = {case.case_id: case.case_id in boxes or case.slice in empty for case in cases.cases}
    requests = [
        TargetRequest(cases.by_id[case_id], found, "annotated", SIDE, finding=finding)
        for case_id, found in boxes.items()
    ]
    quality = maker.make(requests, feature_levels=levels)
    prompted = [request.case for request in requests]
    basis = maker.fit_basis(prompted, levels) if levels else None
    carrying = Carrying(maker, known, boxes, finding, SIDE, 0.0, basis)
    rows = carry(carrying, cases.cases, quality)
    return {cases.by_id[row.case_id].slice: row for row in rows}


def walked(cases, teacher):
    """Slices in the order in which they were seen, a walk a list."""
    numbers = {cases.image(case)[..., 0].tobytes(): case.slice for case in cases.cases}
    return [[numbers[image.tobytes()] for image in walk] for walk in teacher.walks]


def test_a_body_is_followed_both_ways_to_its_ends(cases, tmp_path):
    teacher = Remembering()
    rows = carried(cases, tmp_path, teacher, {6: [box_of(6)]})
    assert walked(cases, teacher) == [[6, 5, 4, 3, 2], [6, 7, 8, 9, 10, 11, 12, 13]]
    assert sorted(rows) == [number for number in BODY if number != 6]
    for number, row in rows.items():
        assert (row.prompt_source, row.accepted, row.n_boxes) == ("carried", True, 1)
        assert 0.5 <= 1 - row.doubt <= 1
        mask = load_target(tmp_path, row.case_id, row.key).probs > 0.5
        assert (mask == body(number, True)).mean() > 0.98


def test_a_walk_ends_where_somebody_looked(cases, tmp_path):
    teacher = Remembering()
    boxes = {5: [box_of(5)], 9: [box_of(9)]}
    rows = carried(cases, tmp_path, teacher, boxes, empty=[3])
    assert walked(cases, teacher) == [
        [5, 4],
        [5, 6, 7, 8],
        [9, 8, 7, 6],
        [9, 10, 11, 12, 13],
    ]
    assert sorted(rows) == [4, 6, 7, 8, 10, 11, 12]


def test_where_the_boxed_slice_shows_nothing_no_walk_begins(cases, tmp_path):
    teacher = Remembering()
    assert carried(cases, tmp_path, teacher, {1: [[5, 5, 15, 15]]}) == {}
    assert walked(cases, teacher) == [[1]]


def test_two_boxes_are_followed_together_and_two_findings_apart(cases, tmp_path):
    both = [box_of(6, True), box_of(6, False)]
    rows = carried(cases, tmp_path / "both", Remembering(), {6: both})
    assert {row.n_boxes for row in rows.values()} == {2}
    parts = [
        carried(cases, tmp_path / "apart", Remembering(), {6: [box_of(6, left)]}, finding=finding)
        for left, finding in ((True, "a"), (False, "b"))
    ]

    def mask(rows, folder, number):
        return load_target(tmp_path / folder, rows[number].case_id, rows[number].key).probs > 0.5

    for number in (4, 9):
        left, right = (mask(part, "apart", number) for part in parts)
        assert not (left & right).any()
        assert (mask(rows, "both", number) == (left | right)).all()
        assert [part[number].finding for part in parts] == ["a", "b"]


def test_a_walk_that_was_stopped_goes_on_and_ends_as_if_it_had_not(cases, tmp_path):
    whole = carried(cases, tmp_path / "whole", Remembering(), {6: [box_of(6)]})
    killed = Remembering()
    killed.stop_after = 9  # five on the first walk
    with pytest.raises(KeyboardInterrupt):
        carried(cases, tmp_path / "killed", killed, {6: [box_of(6)]})
    again = Remembering()
    assert carried(cases, tmp_path / "killed", again, {6: [box_of(6)]}) == whole
    # What is there is not asked again, but seen on the way to what is not.
    assert walked(cases, again) == [[6, 7, 8, 9, 10, 11, 12, 13]]
    third = Remembering()
    assert carried(cases, tmp_path / "killed", third, {6: [box_of(6)]}) == whole
    assert third.walks == []


def test_what_is_kept_hangs_on_all_that_lies_on_the_way(cases, tmp_path):
    rows = carried(cases, tmp_path, Remembering(), {6: [box_of(6)]})
    other_box = carried(cases, tmp_path, Remembering(), {6: [[5, 12, 20, 30]]})
    from_elsewhere = carried(cases, tmp_path, Remembering(), {7: [box_of(6)]})
    keys = {found[9].key for found in (rows, other_box, from_elsewhere)}
    assert len(keys) == 3


def test_features_are_kept_as_those_of_the_boxed_slice(cases, tmp_path):
    config = TargetsConfig(jitter_copies=0, feature_grid=4)
    boxes = {6: [box_of(6)]}
    rows = carried(cases, tmp_path, Remembering(), boxes, config=config, levels=["embedding"])
    files = sorted((tmp_path / "features").glob("*.npz"))
    assert [file.name.split(".")[0] for file in files] == [
        f"s{number:02}" for number in range(2, 14)
    ]
    bases = {str(np.load(file)["basis"]) for file in files}
    assert len(bases) == 1
    features = load_target(tmp_path, rows[9].case_id, rows[9].key).features
    assert features["embedding"].shape[1:] == (4, 4)


def small_sam2(tmp_path, something=True):
    torch.manual_seed(0)
    network = sees(sam2.build_network(small_yaml(tmp_path), image_size=128), something)
    return sam2.Sam2("small", network, "random", torch.device("cpu"))


def test_a_small_sam2_carries_by_its_own_memory(cases, tmp_path):
    """What it says with random weights means nothing; that it is what its memory says does."""
    teacher = small_sam2(tmp_path)
    config = TargetsConfig(jitter_copies=0, min_trust=0.0, min_trust_carried=0.0)
    boxes = np.array([box_of(8)], np.float32)
    rows = carried(cases, tmp_path / "out", teacher, {8: boxes}, config=config)
    assert {6, 7, 9, 10} <= set(rows)
    for step in (1, -1):
        track = teacher.memory.begin(boxes)
        for case in cases.cases[8::step]:
            reply = track.see(teacher.encode([cases.image(case)]))
            if case.slice in rows:
                probs = torch.sigmoid(teacher.to_image(reply.logits, (SIDE, SIDE)))[0]
                row = rows[case.slice]
                kept = load_target(tmp_path / "out", row.case_id, row.key).probs
                np.testing.assert_allclose(kept, probs.numpy(), atol=0.003)
                assert row.predicted_iou == pytest.approx(float(reply.predicted_iou), abs=1e-4)
    moved = carried(cases, tmp_path / "out", teacher, {8: [box_of(8, False)]}, config=config)
    assert moved[9].predicted_iou != rows[9].predicted_iou


def test_a_sam2_that_sees_nothing_carries_nothing(cases, tmp_path):
    teacher = small_sam2(tmp_path, something=False)
    config = TargetsConfig(jitter_copies=0, min_trust=0.0, min_trust_carried=0.0)
    assert carried(cases, tmp_path / "out", teacher, {8: [box_of(8)]}, config=config) == {}
