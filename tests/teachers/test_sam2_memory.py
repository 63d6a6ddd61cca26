"""SAM 2's memory: equal to the official video predictor either way, and bounded."""

import copy

import numpy as np
import pytest
import torch
from support.small_sam2 import sees, small_yaml

from meddistill.teachers import sam2
from meddistill.teachers.sam2_memory import CHUNK_OBJECTS

CPU = torch.device("cpu")
BOXES = np.array([[10, 12, 40, 50], [45, 5, 70, 30]], np.float32)
SIZE = (60, 80)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(0)
    network = sam2.build_network(small_yaml(tmp_path_factory.mktemp("sam2")), image_size=128)
    return sam2.Sam2("small", sees(network), "random", CPU)


def slices(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (*SIZE, 3)).astype(np.uint8) for _ in range(count)]


def followed(teacher, images, boxes=BOXES):
    track = teacher.memory.begin(boxes)
    return [track.see(teacher.encode([image])) for image in images]


def official(teacher, monkeypatch, images, start, reverse):
    """Place -> logits (N, H, W) of the official video predictor on the whole stack."""
    from sam2 import sam2_video_predictor as module

    predictor = copy.copy(teacher.net)
    predictor.__class__ = module.SAM2VideoPredictor
    predictor.fill_hole_area = 0
    for flag in (
        "non_overlap_masks",
        "clear_non_cond_mem_around_input",
        "add_all_frames_to_correct_as_cond",
    ):
        setattr(predictor, flag, False)
    frames = torch.cat([teacher._to_input(image) for image in images])
    monkeypatch.setattr(module, "load_video_frames", lambda **_: (frames, *SIZE))
    state = predictor.init_state("a folder")
    for number, box in enumerate(BOXES):
        predictor.add_new_points_or_box(state, frame_idx=start, obj_id=number, box=box)
    walk = predictor.propagate_in_video(state, start_frame_idx=start, reverse=reverse)
    return {place: masks[:, 0] for place, _, masks in walk}


@pytest.mark.parametrize("step", [1, -1])
def test_what_is_followed_equals_the_official_video_predictor(teacher, monkeypatch, step):
    images = slices(24)
    start = 4 if step == 1 else 19
    expected = official(teacher, monkeypatch, images, start, reverse=step == -1)
    walked = list(range(24))[start::step]
    assert sorted(expected) == sorted(walked)
    answers = followed(teacher, [images[place] for place in walked])
    for place, answer in zip(walked, answers, strict=True):
        assert answer.predicted_iou.shape == (2,)
        ours = teacher.to_image(answer.logits, SIZE)
        torch.testing.assert_close(ours, expected[place], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_a_full_size_sam2_tiny_follows_as_the_official_video_predictor(monkeypatch):
    torch.manual_seed(0)
    network = sam2.build_network(sam2.packaged_yaml("sam2.1/sam2.1_hiera_t.yaml"))
    full = sam2.Sam2("sam2.1-tiny", sees(network), "random", CPU)
    images = slices(16)
    expected = official(full, monkeypatch, images, 14, reverse=False)
    for place, answer in zip((14, 15), followed(full, images[14:]), strict=True):
        ours = full.to_image(answer.logits, SIZE)
        torch.testing.assert_close(ours, expected[place], atol=1e-3, rtol=1e-2)


def test_half_precision_changes_little(teacher):
    half = sam2.Sam2("small", teacher.net, "random", CPU, "bf16-mixed")
    images = slices(3)
    for exact, near in zip(followed(teacher, images), followed(half, images), strict=True):
        assert near.logits.dtype == near.predicted_iou.dtype == torch.float32
        torch.testing.assert_close(near.logits, exact.logits, atol=0.03, rtol=0.1)
        assert not torch.equal(near.logits, exact.logits)


def test_the_boxed_slice_is_answered_as_a_single_image(teacher):
    (image,) = slices(1)
    answer = followed(teacher, [image])[0]
    alone = teacher.decode(teacher.encode([image]), [BOXES])[0]
    torch.testing.assert_close(answer.logits, alone.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer.predicted_iou, alone.predicted_iou)


def test_a_slice_is_answered_by_what_was_on_the_boxed_one(teacher):
    first, second, third = slices(3)
    (other,) = slices(1, seed=9)
    plain = followed(teacher, [first, second, third])
    by_slice = followed(teacher, [other, second, third])
    by_box = followed(teacher, [first, second, third], BOXES[::-1].copy())
    between = followed(teacher, [first, other, third])
    for place in (1, 2):
        assert (plain[place].logits - by_slice[place].logits).abs().max() > 1e-3
        assert (plain[place].logits - by_box[place].logits).abs().max() > 1e-3
    assert (plain[2].logits - between[2].logits).abs().max() > 1e-3
    again = followed(teacher, [first, second, third])
    assert all(torch.equal(a.logits, b.logits) for a, b in zip(plain, again, strict=True))


def test_each_box_is_an_object_of_its_own(teacher):
    images = slices(4)
    many = np.concatenate([BOXES, BOXES + 3, np.repeat(BOXES, 4, axis=0)])
    assert len(many) > CHUNK_OBJECTS
    together = followed(teacher, images, many)
    for index in (0, 1, CHUNK_OBJECTS):
        alone = followed(teacher, images, many[index : index + 1])
        for ours, own in zip(together, alone, strict=True):
            torch.testing.assert_close(ours.logits[index], own.logits[0], atol=1e-3, rtol=1e-2)
            torch.testing.assert_close(
                ours.predicted_iou[index], own.predicted_iou[0], atol=1e-3, rtol=1e-3
            )
    none = followed(teacher, images, np.zeros((0, 4), np.float32))
    assert [answer.logits.shape for answer in none] == [(0, 32, 32)] * 4


def test_where_nothing_is_there_the_masks_are_empty(tmp_path):
    torch.manual_seed(0)
    network = sam2.build_network(small_yaml(tmp_path), image_size=128)
    blind = sam2.Sam2("small", sees(network, something=False), "random", CPU)
    for answer in followed(blind, slices(2)):
        assert answer.logits.max() < -100


def test_what_is_remembered_does_not_grow(teacher):
    track = teacher.memory.begin(BOXES)
    for image in slices(30):
        track.see(teacher.encode([image]))
    (bank,) = track._banks
    remembered = bank._outputs["non_cond_frame_outputs"]
    assert list(remembered) == list(range(15, 30))
    assert [number for number, kept in remembered.items() if "maskmem_features" in kept] == list(
        range(24, 30)
    )


def test_a_network_without_memory_says_so(tmp_path):
    network = sam2.build_network(small_yaml(tmp_path), image_size=128)
    network.num_maskmem = 0
    assert sam2.Sam2("small", network, "random", CPU).memory is None
