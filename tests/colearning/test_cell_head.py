"""The head on the teacher's map: it learns what its cells show, and says it at the frame's size."""

import dataclasses

import pytest
import torch
from support.bright_squares import SIZE, square
from support.painting_teacher import PaintingTeacher

from meddistill.colearning.cell_head import (
    CELLS_A_CASE,
    Cells,
    SomeCases,
    draw_cells,
    fit_head,
    head_maps,
)
from meddistill.teachers.teacher import Encoded


def encoded(index):
    return PaintingTeacher().encode([square(index)[0]])


def target(index):
    return torch.from_numpy(square(index)[1]).float()[None]


def cells(index, probs=None, weight=1.0):
    generator = torch.Generator().manual_seed(index)
    return draw_cells(
        encoded(index), target(index) if probs is None else probs, generator, [weight]
    )


@pytest.fixture(scope="module")
def head():
    return fit_head(Cells.join([cells(index) for index in range(6)]), 200, seed=0)


def test_it_finds_the_lesion_of_a_picture_that_it_never_saw(head):
    for index in (20, 21, 22):
        probs = head_maps([head], encoded(index), SIZE)[0]
        assert probs.shape == (1, SIZE, SIZE)
        found, truth = probs > 0.5, target(index) > 0.5
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_half_of_the_cells_drawn_have_a_lesion_where_there_are_so_many():
    drawn = cells(0)
    assert len(drawn.share) == CELLS_A_CASE
    assert (drawn.share > 0.02).sum() == CELLS_A_CASE // 2
    empty = cells(0, torch.zeros(1, SIZE, SIZE))
    assert len(empty.share) == CELLS_A_CASE
    assert not empty.share.any()


def test_the_weight_of_a_case_scales_its_cells():
    assert torch.equal(cells(0, weight=0.5).weight, 0.5 * cells(0).weight)


def test_the_same_seed_gives_the_same_head(head):
    again = fit_head(Cells.join([cells(index) for index in range(6)]), 200, seed=0)
    assert all(map(torch.equal, head.parameters(), again.parameters()))


def test_padding_of_the_frame_is_no_lesion(head):
    flat = square(0)[0][:32]  # half as high as wide
    probs = head_maps([head], PaintingTeacher().encode([flat]), SIZE)[0, 0]
    assert float(probs[34:].max()) == 0


def test_a_head_reads_all_levels_that_its_cells_were_of():
    class TwoLevels(PaintingTeacher):
        """The second level alone shows the square."""

        def encode(self, images):
            found = super().encode(images)
            shown = found.features["embedding"]
            levels = {"embedding": torch.zeros_like(shown), "stage2": shown, "stage1": shown}
            return dataclasses.replace(found, features=levels)

    def known(index):
        whole = TwoLevels().encode([square(index)[0]])
        return Encoded.from_arrays(whole.to_arrays(("embedding", "stage2")))

    generator = torch.Generator().manual_seed(0)
    drawn = Cells.join([draw_cells(known(i), target(i), generator) for i in range(6)])
    assert drawn.levels == ("embedding", "stage2")
    assert drawn.features.shape[1] == 6
    head = fit_head(drawn, 200, seed=0)
    # Of an encoding that holds more, it takes its own.
    for encoding in (known(20), TwoLevels().encode([square(20)[0]])):
        found, truth = head_maps([head], encoding, SIZE)[0] > 0.5, target(20) > 0.5
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.85


def test_some_cases_are_kept_each_as_likely_as_any_other():
    counts = torch.zeros(10)
    for seed in range(300):
        some = SomeCases(3, seed)
        for number in range(10):
            some.add(Cells(torch.empty(0, 1), torch.empty(0, 1), torch.tensor([[float(number)]])))
        assert len(some.kept) == 3
        for each in some.kept:
            counts[int(each.weight)] += 1
    assert counts.sum() == 900
    assert counts.min() > 60  # 90 are expected, the deviation is 8
    assert counts.max() < 120


def of_two(index, weights):
    """Cells of a picture whose square is the second finding; the first is its left half."""
    whole = target(index)[0]
    left = whole.clone()
    left[:, int(whole.nonzero()[:, 1].float().mean()) :] = 0
    generator = torch.Generator().manual_seed(index)
    return draw_cells(encoded(index), torch.stack([left, whole]), generator, weights)


def test_findings_share_the_cells_that_show_any():
    drawn = of_two(0, (1.0, 1.0))
    assert drawn.share.shape == drawn.weight.shape == (CELLS_A_CASE, 2)
    shows = drawn.share > 0.02
    assert shows[:, 0].sum() >= CELLS_A_CASE // 4
    assert shows[:, 1].sum() >= CELLS_A_CASE // 4


def test_what_nobody_looked_for_is_not_drawn_and_teaches_nothing():
    drawn = of_two(0, (0.0, 1.0))
    assert not drawn.weight[:, 0].any()
    assert (drawn.share[:, 1] > 0.02).sum() == CELLS_A_CASE // 2
    head, other = (
        fit_head(dataclasses.replace(drawn, share=drawn.share * torch.tensor(scale)), 20, seed=0)
        for scale in ([1.0, 1.0], [0.0, 1.0])
    )
    assert all(map(torch.equal, head.parameters(), other.parameters()))
