"""Targets: what is fused, what is cached, and what is made anew when something changes."""

import csv
import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from PIL import Image

from meddistill.base.errors import ConfigError, InputError, MedDistillError
from meddistill.run.dataset import Dataset
from meddistill.run.layout import QUALITY_CSV
from meddistill.run.tables import Case
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.asking import jittered_boxes
from meddistill.targets.cache import load_target
from meddistill.targets.making import TargetMaker
from meddistill.targets.requests import TargetRequest
from meddistill.teachers.teacher import BoxMasks, Encoded

_SIDE = 64


class BoxTeacher:
    """Answers a box with the filled box on a grid of 64, and counts its work."""

    name = "boxes"
    fingerprint = "boxes-1"
    head_levels = ("embedding",)
    takes_masks = False
    memory = None
    logit_shift = 0.0

    def __init__(self):
        self.feature_channels = {"embedding": 6}
        self.encoded = 0
        self.decoded = 0

    def encode(self, images):
        self.encoded += len(images)
        sizes = [image.shape[:2] for image in images]
        rng = np.random.default_rng(int(images[0].sum()))
        maps = torch.from_numpy(rng.normal(size=(len(images), 6, 16, 16)).astype(np.float32))
        shares = [(h / max(h, w), w / max(h, w)) for h, w in sizes]
        return Encoded({"embedding": maps}, shares, sizes)

    def decode(self, encoded, boxes_xyxy_px):
        answers = []
        for size, boxes in zip(encoded.sizes_hw, boxes_xyxy_px, strict=True):
            self.decoded += len(boxes)
            logits = torch.full((len(boxes), _SIDE, _SIDE), -9.0)
            for index, (x1, y1, x2, y2) in enumerate(
                np.round(boxes * _SIDE / max(size)).astype(int)
            ):
                logits[index, y1:y2, x1:x2] = 9.0
            answers.append(BoxMasks(logits, torch.full((len(boxes),), 0.9)))
        return answers

    def to_image(self, logits, size_hw):
        height, width = (max(1, round(side * _SIDE / max(size_hw))) for side in size_hw)
        cut = logits[None, :, :height, :width]
        return torch.nn.functional.interpolate(cut, size_hw, mode="bilinear", align_corners=False)[
            0
        ]


def _case(data, case_id, size_hw=(64, 64), split="train", shade=80):
    image = np.full((*size_hw, 3), shade, np.uint8)
    image[:8, :8] = len(case_id)
    path = data / "images" / split / f"{case_id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    relative = f"images/{split}/{case_id}.png"
    return Case(
        case_id, split, "g", "c", "boxes", False, relative, size_hw[1], size_hw[0], 1, "", "s", sha
    )


def _request(case, boxes, size=64):
    return TargetRequest(case, np.array(boxes, np.float32).reshape(-1, 4), "annotated", size)


def _make(tmp_path, requests, teacher=None, config=None, **options):
    teacher = teacher or BoxTeacher()
    config = config or TargetsConfig(jitter_copies=2, views="whole")
    cases = [request.case for request in requests]
    dataset = Dataset(tmp_path / "data", cases)
    maker = TargetMaker(teacher, dataset, tmp_path / "teacher", config, batch_size=2)
    return maker.make(requests, **options), teacher


def test_without_jitter_the_target_is_the_plain_mask_and_sure(tmp_path):
    case = _case(tmp_path / "data", "a")
    rows, _ = _make(
        tmp_path,
        [_request(case, [[10, 20, 30, 50]])],
        config=TargetsConfig(jitter_copies=0, views="whole"),
    )
    target = load_target(tmp_path / "teacher", "a", rows[0].key)
    expected = np.zeros((64, 64), bool)
    expected[20:50, 10:30] = True
    assert ((target.probs > 0.5) == expected).all()
    assert target.uncertainty.max() == 0
    share = expected.mean()
    assert rows[0].v == pytest.approx(share * (1 - share), rel=0.01)
    assert rows[0].area_share == pytest.approx(share, abs=1e-6)
    assert rows[0].box_iou == 1
    assert rows[0].agreement == 1


def test_uncertainty_is_the_variance_over_the_copies_and_lies_at_the_edge(tmp_path):
    case = _case(tmp_path / "data", "a")
    rows, _ = _make(
        tmp_path,
        [_request(case, [[10, 10, 50, 50]])],
        config=TargetsConfig(jitter_copies=8, views="whole"),
    )
    target = load_target(tmp_path / "teacher", "a", rows[0].key)
    assert 0 < target.uncertainty.max() <= 0.25
    assert target.uncertainty[20:40, 20:40].max() == 0
    # Copies are nearly binary, so the variance is p(1 - p) of the share p of copies that cover a
    # pixel.
    assert np.abs(target.uncertainty - target.probs * (1 - target.probs)).max() < 0.01
    assert rows[0].agreement < 1


@pytest.mark.parametrize(("size_hw", "frame"), [((64, 64), 64), ((64, 64), 32), ((48, 96), 64)])
def test_a_zoomed_answer_lies_where_the_whole_one_does(tmp_path, size_hw, frame):
    case = _case(tmp_path / "data", "a", size_hw=size_hw)
    request = _request(case, [[10, 12, 26, 28], [30, 30, 40, 44]], size=frame)
    pair = []
    for views in ("whole", "zoom"):
        rows, _ = _make(tmp_path, [request], config=TargetsConfig(jitter_copies=0, views=views))
        pair.append(load_target(tmp_path / "teacher", "a", rows[0].key).probs > 0.5)
    whole, zoomed = pair
    assert 2 * (whole & zoomed).sum() / (whole.sum() + zoomed.sum()) > 0.93
    # Every edge of the zoomed answer is within a pixel of the box's own.
    scale = frame / max(size_hw)
    expected = np.zeros((frame, frame), bool)
    for x1, y1, x2, y2 in request.boxes_xyxy_px * scale:
        expected[round(float(y1)) : round(float(y2)), round(float(x1)) : round(float(x2))] = True
    assert 2 * (expected & zoomed).sum() / (expected.sum() + zoomed.sum()) > 0.93


def test_both_views_are_averaged_and_their_disagreement_is_uncertainty(tmp_path):
    class TwoMinded(BoxTeacher):
        """Sees nothing in a window; told apart by its size, as windows are enlarged to the image's
        longest side."""

        def decode(self, encoded, boxes_xyxy_px):
            answers = super().decode(encoded, boxes_xyxy_px)
            if encoded.sizes_hw[0] != (48, 64):
                answers = [
                    BoxMasks(torch.full_like(a.logits, -9.0), a.predicted_iou) for a in answers
                ]
            return answers

    case = _case(tmp_path / "data", "a", size_hw=(48, 64))
    config = TargetsConfig(jitter_copies=0, views="both")
    rows, _ = _make(tmp_path, [_request(case, [[10, 10, 30, 30]])], TwoMinded(), config)
    target = load_target(tmp_path / "teacher", "a", rows[0].key)
    assert target.probs[15, 15] == pytest.approx(0.5, abs=0.01)
    assert target.uncertainty[15, 15] == pytest.approx(0.25, abs=0.01)
    assert target.uncertainty[40, 50] == 0


def test_a_logit_shift_is_the_teachers_own_unless_the_config_has_one(tmp_path):
    class Shy(BoxTeacher):
        logit_shift = 9.0

    request = _request(_case(tmp_path / "data", "a"), [[10, 10, 30, 30]])
    inside = []
    for shift in (None, 0.0):
        config = TargetsConfig(jitter_copies=0, views="whole", logit_shift=shift)
        rows, _ = _make(tmp_path, [request], Shy(), config)
        inside.append(load_target(tmp_path / "teacher", "a", rows[0].key).probs[60, 60])
    assert inside == pytest.approx([0.5, 0.0], abs=0.01)


def test_the_shift_moves_the_mean_and_not_each_copy(tmp_path):
    class Torn(BoxTeacher):
        """Sees the lesion with the first of three boxes alone."""

        def decode(self, encoded, boxes_xyxy_px):
            answers = super().decode(encoded, boxes_xyxy_px)
            for answer in answers:
                answer.logits[1:] = -30.0
            return answers

    request = _request(_case(tmp_path / "data", "a"), [[10, 10, 50, 50]])
    config = TargetsConfig(jitter_copies=2, views="whole", logit_shift=1.5)
    rows, _ = _make(tmp_path, [request], Torn(), config)
    # logit(1/3) + 1.5; a mean of shifted copies would stay at 1/3.
    expected = 1 / (1 + 2 * np.exp(-1.5))
    assert load_target(tmp_path / "teacher", "a", rows[0].key).probs[30, 30] == pytest.approx(
        expected, abs=0.01
    )


@pytest.mark.parametrize(("source", "encoded"), [("annotated", 2), ("detected", 1), ("student", 1)])
def test_auto_looks_twice_at_an_annotated_box_alone(tmp_path, source, encoded):
    request = dataclasses.replace(
        _request(_case(tmp_path / "data", "a"), [[10, 10, 30, 30]]), prompt_source=source
    )
    rows, teacher = _make(tmp_path, [request], BoxTeacher(), TargetsConfig(jitter_copies=1))
    assert teacher.encoded == encoded
    named = TargetsConfig(jitter_copies=1, views="both" if encoded == 2 else "whole")
    again, _ = _make(tmp_path, [request], teacher, named)
    assert teacher.encoded == encoded, "the same views are the same target"
    assert again[0].key == rows[0].key


class Prompted(BoxTeacher):
    """Takes masks, and keeps what it was given."""

    takes_masks = True

    def decode(self, encoded, boxes_xyxy_px, mask_logits=None):
        self.given = mask_logits
        return super().decode(encoded, boxes_xyxy_px)


def test_a_guess_prompts_a_teacher_that_takes_masks_each_box_its_own_lesion(tmp_path):
    request = _request(_case(tmp_path / "data", "a"), [[4, 4, 20, 20], [40, 40, 60, 60]])
    guess = np.zeros((64, 64), np.uint8)
    guess[6:18, 6:18] = guess[42:58, 42:58] = 255
    asked = dataclasses.replace(request, guess=guess, prompt_source="student")
    teacher = Prompted()
    rows, _ = _make(tmp_path, [asked], teacher, TargetsConfig(jitter_copies=1))
    (given,) = teacher.given
    assert given.shape == (4, 64, 64)  # two boxes, plain and jittered
    lesions = [(given[number] > 0).nonzero() for number in range(4)]
    assert [(int(where.min()), int(where.max())) for where in lesions] == [(6, 17), (42, 57)] * 2
    other = dataclasses.replace(asked, guess=np.roll(guess, 1))
    assert (
        _make(tmp_path, [other], teacher, TargetsConfig(jitter_copies=1))[0][0].key != rows[0].key
    )


def test_a_guess_changes_nothing_for_a_teacher_of_boxes(tmp_path):
    request = _request(_case(tmp_path / "data", "a"), [[4, 4, 20, 20]])
    asked = dataclasses.replace(request, guess=np.zeros((64, 64), np.uint8))
    keys = {_make(tmp_path, [each], BoxTeacher())[0][0].key for each in (request, asked)}
    assert len(keys) == 1


def test_without_a_box_an_image_is_encoded_for_its_features_alone(tmp_path):
    boxed, bare = (_case(tmp_path / "data", name) for name in ("boxed", "bare"))
    requests = [_request(bare, []), _request(boxed, [[10, 10, 30, 30]])]
    rows, teacher = _make(tmp_path, requests, no_box="empty")
    assert teacher.encoded == 1
    masks = [load_target(tmp_path / "teacher", row.case_id, row.key).probs > 0.5 for row in rows]
    assert [mask.any() for mask in masks] == [False, True]
    _, teacher = _make(tmp_path, requests, no_box="empty", feature_levels=["embedding"])
    assert teacher.encoded == 2 + 2  # the sample of the basis, then both


def test_several_boxes_are_fused_by_maximum(tmp_path):
    case = _case(tmp_path / "data", "a")
    boxes = [[4, 4, 20, 20], [40, 40, 60, 60]]
    rows, _ = _make(
        tmp_path, [_request(case, boxes)], config=TargetsConfig(jitter_copies=0, views="whole")
    )
    mask = load_target(tmp_path / "teacher", "a", rows[0].key).probs > 0.5
    assert mask.sum() == 16 * 16 + 20 * 20
    assert rows[0].n_boxes == 2


def test_an_oblong_image_lies_at_the_top_left_of_the_frame(tmp_path):
    case = _case(tmp_path / "data", "a", size_hw=(32, 128))
    request = _request(case, [[0, 0, 128, 32]], size=64)
    rows, _ = _make(tmp_path, [request], config=TargetsConfig(jitter_copies=0, views="whole"))
    mask = load_target(tmp_path / "teacher", "a", rows[0].key).probs > 0.5
    assert mask.shape == (64, 64)
    assert mask[:16].all()
    assert not mask[16:].any()


def test_a_changed_box_recomputes_that_case_alone(tmp_path):
    cases = [_case(tmp_path / "data", name) for name in ("a", "b", "c")]
    requests = [_request(case, [[10, 10, 30, 30]]) for case in cases]
    first, _ = _make(tmp_path, requests)
    requests[1] = _request(cases[1], [[10, 10, 30, 34]])
    again, teacher = _make(tmp_path, requests)
    assert teacher.encoded == 1
    assert [row.key for row in again if row not in first] == [again[1].key]


def test_everything_that_changes_the_target_changes_its_key(tmp_path):
    case, other = (_case(tmp_path / "data", name) for name in ("a", "b"))
    box = [[10, 10, 30, 30]]
    changed = BoxTeacher()
    changed.fingerprint = "boxes-2"
    keys = [
        _make(tmp_path, [_request(case, box)])[0][0].key,
        _make(tmp_path, [_request(case, box)], changed)[0][0].key,
        _make(
            tmp_path, [_request(case, box)], config=TargetsConfig(jitter_copies=3, views="whole")
        )[0][0].key,
        _make(
            tmp_path,
            [_request(case, box)],
            config=TargetsConfig(jitter_copies=2, jitter_share=0.2, views="whole"),
        )[0][0].key,
        _make(
            tmp_path,
            [_request(case, box)],
            config=TargetsConfig(jitter_copies=2, seed=1, views="whole"),
        )[0][0].key,
        _make(tmp_path, [_request(case, box, size=32)])[0][0].key,
        _make(tmp_path, [_request(other, box)])[0][0].key,
    ]
    assert len(set(keys)) == len(keys)


def test_thresholds_judge_the_kept_target_without_making_it_anew(tmp_path):
    case = _case(tmp_path / "data", "a")
    request = _request(case, [[10, 10, 30, 30]])
    assert _make(tmp_path, [request])[0][0].accepted
    rows, teacher = _make(
        tmp_path, [request], config=TargetsConfig(jitter_copies=2, views="whole", min_trust=0.95)
    )
    assert teacher.encoded == 0
    assert not rows[0].accepted
    assert "below 0.95: predicted IoU 0.90" in rows[0].reason


def test_a_killed_pass_goes_on_and_ends_the_same(tmp_path):
    cases = [_case(tmp_path / "data", f"case{number}") for number in range(6)]
    requests = [_request(case, [[5, 5, 25 + index, 30]]) for index, case in enumerate(cases)]

    class Dying(BoxTeacher):
        def encode(self, images):
            if self.encoded >= 4:
                raise KeyboardInterrupt
            return super().encode(images)

    with pytest.raises(KeyboardInterrupt):
        _make(tmp_path, requests, Dying())
    assert not (tmp_path / "teacher" / QUALITY_CSV).exists()
    rows, teacher = _make(tmp_path, requests)
    assert teacher.encoded == 2
    config = TargetsConfig(jitter_copies=2, views="whole")
    dataset = Dataset(tmp_path / "data", cases)
    maker = TargetMaker(BoxTeacher(), dataset, tmp_path / "fresh", config, batch_size=5)
    fresh = maker.make(requests)
    assert rows == fresh
    for row in rows:
        one, two = (
            load_target(tmp_path / name, row.case_id, row.key) for name in ("teacher", "fresh")
        )
        assert (one.probs == two.probs).all()
        assert (one.uncertainty == two.uncertainty).all()


class TightTeacher(BoxTeacher):
    """Has memory for so many images at once."""

    def __init__(self, most):
        super().__init__()
        self.most = most

    def encode(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().encode(images)


def test_images_that_do_not_fit_together_are_encoded_one_by_one(tmp_path):
    requests = [_request(_case(tmp_path / "data", name), [[8, 8, 40, 40]]) for name in ("a", "bb")]
    for most in (1, 2):
        _make(tmp_path, requests, TightTeacher(most))
        (tmp_path / "teacher").rename(tmp_path / f"at-most-{most}")
    one_by_one = sorted((tmp_path / "at-most-1").rglob("*.npz"))
    assert len(one_by_one) == 2
    for path in one_by_one:
        same = tmp_path / "at-most-2" / path.relative_to(tmp_path / "at-most-1")
        assert path.read_bytes() == same.read_bytes()


def test_an_image_that_does_not_fit_alone_is_one_line_that_says_what_to_set(tmp_path):
    request = _request(_case(tmp_path / "data", "a"), [[8, 8, 40, 40]])
    with pytest.raises(MedDistillError, match=r"boxes looks at one image; .*targets\.views=whole"):
        _make(tmp_path, [request], TightTeacher(0))


def test_a_damaged_file_is_made_again(tmp_path):
    request = _request(_case(tmp_path / "data", "a"), [[10, 10, 30, 30]])
    rows, _ = _make(tmp_path, [request])
    path = tmp_path / "teacher" / "targets" / f"a.{rows[0].key}.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be read"):
        load_target(tmp_path / "teacher", "a", rows[0].key)
    _, teacher = _make(tmp_path, [request])
    assert teacher.encoded == 1
    assert load_target(tmp_path / "teacher", "a", rows[0].key).probs.max() > 0.9


def test_boxes_are_clipped_dropped_and_counted(tmp_path, capsys):
    data = tmp_path / "data"
    requests = [
        _request(_case(data, "beyond"), [[50, 50, 90, 90]]),
        _request(_case(data, "flat"), [[10, 10, 10, 40], [5, 5, 20, 20]]),
        _request(_case(data, "outside"), [[70, 70, 90, 90]]),
        _request(_case(data, "bare"), []),
    ]
    rows, _ = _make(tmp_path, requests)
    assert [(row.case_id, row.n_boxes) for row in rows] == [("beyond", 1), ("flat", 1)]
    said = capsys.readouterr().err
    assert "1 box(es) reached outside" in said
    assert "2 case(s): flat, outside" in said
    assert "2 case(s) without a box" in said


def test_no_box_means_no_lesion_only_where_the_caller_says_so(tmp_path):
    request = _request(_case(tmp_path / "data", "bare"), [])
    assert _make(tmp_path, [request])[0] == []
    rows, _ = _make(tmp_path, [request], no_box="empty")
    target = load_target(tmp_path / "teacher", "bare", rows[0].key)
    assert rows[0].accepted
    assert target.probs.max() == 0
    assert target.uncertainty.max() == 0


def test_jitter_is_bounded_seeded_by_case_and_starts_with_the_plain_box():
    boxes = np.array([[10, 20, 50, 40], [0, 0, 60, 60]], np.float32)
    copies = jittered_boxes(boxes, (64, 64), 50, 0.1, "a", 0)
    assert copies.shape == (51, 2, 4)
    assert (copies[0] == boxes).all()
    moved = np.abs(copies - boxes)
    assert moved[:, 0, 0::2].max() <= 4.001
    assert moved[:, 0, 1::2].max() <= 2.001
    assert moved[:, 0].max() > 3
    assert copies.min() >= 0
    assert copies.max() <= 64
    assert (copies == jittered_boxes(boxes, (64, 64), 50, 0.1, "a", 0)).all()
    assert (copies != jittered_boxes(boxes, (64, 64), 50, 0.1, "b", 0)).any()
    assert (copies != jittered_boxes(boxes, (64, 64), 50, 0.1, "a", 1)).any()


def test_features_are_kept_for_training_cases_within_the_budget(tmp_path):
    data = tmp_path / "data"
    cases = [_case(data, f"t{n}", shade=40 + n) for n in range(4)] + [
        _case(data, "held", split="test")
    ]
    requests = [_request(case, [[10, 10, 30, 30]]) for case in cases]
    config = TargetsConfig(
        jitter_copies=1, views="whole", feature_grid=8, feature_bytes=8 * 8 * 2 * 4
    )
    rows, _ = _make(tmp_path, requests, config=config, feature_levels=["embedding"])
    maps = load_target(tmp_path / "teacher", "t0", rows[0].key).features["embedding"]
    assert maps.shape == (4, 8, 8)
    assert maps.dtype == np.float16
    assert load_target(tmp_path / "teacher", "held", rows[-1].key).features == {}
    # A first pass without features does not make the second believe that they are there.
    other = tmp_path / "other"
    other.mkdir()
    (other / "data").symlink_to(data)
    _make(other, requests, config=config)
    _, teacher = _make(other, requests, config=config, feature_levels=["embedding"])
    assert teacher.encoded == 4 + 4  # the sample of the basis, then the training cases


def test_an_unknown_feature_level_is_named(tmp_path):
    request = _request(_case(tmp_path / "data", "a"), [[10, 10, 30, 30]])
    with pytest.raises(ConfigError, match="no feature level 'embeding'; did you mean 'embedding'"):
        _make(tmp_path, [request], feature_levels=["embeding"])


def test_an_image_of_another_size_is_refused(tmp_path):
    case = _case(tmp_path / "data", "a")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "data" / case.image)
    with pytest.raises(InputError, match=r"a\.png is 32x32 px, cases\.csv says 64x64"):
        _make(tmp_path, [_request(case, [[10, 10, 30, 30]])])


def test_ranks_share_the_work_and_a_last_pass_writes_the_table(tmp_path):
    requests = [_request(_case(tmp_path / "data", f"c{n}"), [[5, 5, 30 + n, 30]]) for n in range(5)]
    parts = [_make(tmp_path, requests, part=(rank, 2)) for rank in (0, 1)]
    assert [teacher.encoded for _, teacher in parts] == [3, 2]
    assert not (tmp_path / "teacher" / QUALITY_CSV).exists()
    rows, teacher = _make(tmp_path, requests)
    assert teacher.encoded == 0
    with (tmp_path / "teacher" / QUALITY_CSV).open() as file:
        assert [row["case_id"] for row in csv.DictReader(file)] == [row.case_id for row in rows]


def test_the_scale_script_makes_every_target_once(tmp_path, monkeypatch):
    from support.script_module import load_script

    script = load_script("bench/scale_targets")
    asked = []
    encode = script.FakeTeacher.encode
    monkeypatch.setattr(
        script.FakeTeacher,
        "encode",
        lambda self, images: asked.extend(images) or encode(self, images),
    )
    figures = script.measure(tmp_path, 40)
    assert len(asked) == 40, "the second pass finds what the first has made"
    assert len(list((tmp_path / "teacher" / "targets").iterdir())) == figures["cases"] == 40
    assert figures["peak_mb"] > 0
    assert figures["kb"] > 0
