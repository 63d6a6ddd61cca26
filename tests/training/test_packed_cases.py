"""Packed cases: what goes in comes out, in any order, in memory or mapped from files."""

import numpy as np
import pytest
import torch

from meddistill.training import packed_cases
from meddistill.training.packed_cases import CaseTarget, PackedCases

SHAPES = {"embedding": (4, 2, 2)}


@pytest.fixture(params=["memory", "mapped"])
def cases(request, tmp_path, monkeypatch):
    limit = 0 if request.param == "mapped" else 2**30
    monkeypatch.setattr(packed_cases, "MEMORY_LIMIT_BYTES", limit)
    packed = PackedCases(["a", "b", "c"], 16, SHAPES, directory=tmp_path / "packed")
    generator = np.random.default_rng(0)
    for index in range(3):
        packed.put(
            index,
            generator.integers(0, 256, (16, 16, 3), dtype=np.uint8),
            CaseTarget(
                generator.random((16, 16), dtype=np.float32),
                generator.random((16, 16), dtype=np.float32) / 4,
                published_v=0.1 * index,
                doubt=float(index),
                weight=1.0 + index,
                features={"embedding": generator.random((4, 2, 2)).astype(np.float16)},
            ),
        )
    return packed


def test_what_goes_in_comes_out_by_index(cases):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    probs = generator.random((16, 16), dtype=np.float32)
    batch = cases.batch(torch.tensor([2, 0]))
    assert batch.images.shape == (2, 3, 16, 16)
    assert torch.equal(batch.images[1], torch.from_numpy(image).permute(2, 0, 1).float())
    assert torch.allclose(batch.probs[1, 0], torch.from_numpy(probs), atol=0.5 / 255 + 1e-6)
    assert batch.uncertainty.max() <= 0.25
    assert batch.doubt.tolist() == [[2], [0]]
    assert batch.features["embedding"].shape == (2, 4, 2, 2)


def test_other_sizes_are_brought_to_the_frame():
    packed = PackedCases(["wide"], 16)
    image = np.full((4, 8, 3), 100, dtype=np.uint8)
    packed.put(0, image, CaseTarget(np.zeros((16, 16)), np.zeros((16, 16))))
    frame = packed.batch(torch.tensor([0])).images[0]
    assert (frame[:, :8] == 100).all()
    assert (frame[:, 8:] == 0).all()


def test_case_weights_average_to_one(cases):
    cases.normalise_case_weights()
    assert cases.case_weight[:, 0].tolist() == pytest.approx([0.5, 1.0, 1.5])


def test_a_target_of_another_size_is_refused(cases):
    with pytest.raises(ValueError, match=r"b: target is \(1, 8, 8\)"):
        cases.put(
            1, np.zeros((16, 16, 3), np.uint8), CaseTarget(np.zeros((8, 8)), np.zeros((8, 8)))
        )


def test_missing_features_are_refused(cases):
    with pytest.raises(ValueError, match="no features 'embedding'"):
        cases.put(
            1, np.zeros((16, 16, 3), np.uint8), CaseTarget(np.zeros((16, 16)), np.zeros((16, 16)))
        )


def test_only_maps_that_hold_something_take_room():
    image, empty = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.float32)
    dense, sparse = (PackedCases(["a", "b"], 16, findings=3) for _ in range(2))
    sparse.keep_planes(2)
    for place in (0, 1):
        probs = np.stack([empty, empty, empty])
        probs[2 * place] = 0.2 + place / 2
        weights = np.array([1.0, 0.0, 1.0])
        for cases in (dense, sparse):
            cases.put(place, image, CaseTarget(probs, 0 * probs, weight=weights))
    assert len(sparse._packed["probs"]) == 3
    index = torch.tensor([1, 0])
    for name in ("probs", "uncertainty", "known", "case_weight"):
        assert torch.equal(getattr(dense.batch(index), name), getattr(sparse.batch(index), name))
    assert sparse.foreground_shares() == dense.foreground_shares()
    assert torch.equal(sparse.with_lesion(), dense.with_lesion())
    assert sparse.with_lesion().tolist() == [1]
    with pytest.raises(ValueError, match="more maps hold something than was said"):
        sparse.put(0, image, CaseTarget(probs, 0 * probs))


def test_a_set_too_large_for_the_gpu_stays_on_the_host_and_its_batches_go_there(cases, monkeypatch):
    there = torch.device("meta")  # stands in for a GPU: what lies on it has a shape and no values
    monkeypatch.setattr(packed_cases, "_room", lambda _: 10_000)
    small = PackedCases(["a"], 16).to(there)
    assert small._packed["images"].device == there
    expected = cases.batch(torch.tensor([2, 0]))
    monkeypatch.setattr(packed_cases, "_room", lambda _: 1000)
    cases.to(there)
    assert cases._packed["images"].device.type == "cpu"
    batch = cases.batch(torch.tensor([2, 0]))
    for moved in (batch.images, batch.probs, batch.case_weight, batch.features["embedding"]):
        assert moved.device == there
    monkeypatch.setattr(cases, "device", torch.device("cpu"))
    for name in ("published_v", "doubt", "case_weight", "known", "boxes_xyxy_px"):
        monkeypatch.setattr(cases, name, torch.zeros(3, 1))
    again = cases.batch(torch.tensor([2, 0]))
    assert torch.equal(again.images, expected.images)
    assert torch.equal(again.probs, expected.probs)
