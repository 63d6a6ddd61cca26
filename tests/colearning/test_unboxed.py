"""The rounds over unboxed images: what is settled, and that it is settled the same way again."""

import dataclasses

import numpy as np
import pytest
import torch
from support.bright_squares import SIZE, prepare_squares, square
from support.painting_teacher import PaintingTeacher

from meddistill.colearning.answers import Answers
from meddistill.colearning.beliefs import HEAD, NOTHING, STUDENT, dice
from meddistill.colearning.cell_head import head_maps
from meddistill.colearning.judging import Boxed
from meddistill.colearning.unboxed import UnboxedImages
from meddistill.data.views import AS_IT_IS, some_views
from meddistill.run.dataset import Dataset
from meddistill.settings.colearning import ColearningConfig
from meddistill.targets.encodings import EncodingStore

CONFIG = ColearningConfig(rounds=2, heads=2, head_steps=60)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Dataset.open(prepare_squares(tmp_path_factory.mktemp("squares"), count=14).data)


class FineTeacher(PaintingTeacher):
    """Paints; its features are sevenths, which half precision rounds."""

    def encode(self, images):
        encoded = super().encode(images)
        features = {name: maps / 7 for name, maps in encoded.features.items()}
        return dataclasses.replace(encoded, features=features)


def truth(case):
    return square(int(case.case_id))[1]


def images(directory, data, *, boxed=None, config=CONFIG, budget=1.0, views=(AS_IT_IS,)):
    teacher = FineTeacher()
    train = data.of_split("train")
    looked_at = [case for case in train if case.annotation == "boxes"][:boxed]
    return UnboxedImages(
        data,
        [Boxed(case, truth(case).astype(np.float32)) for case in looked_at],
        [case for case in train if case.annotation == "unknown"],
        EncodingStore(directory / "encodings", teacher, budget),
        Answers(directory / "answers", teacher, SIZE, 0.0),
        config,
        views,
    )


@pytest.fixture(scope="module")
def settled(tmp_path_factory, data):
    directory = tmp_path_factory.mktemp("settled")
    return directory, images(directory, data).settle(seed=0)


def test_every_unboxed_image_has_a_belief_and_a_row_a_round(settled, data):
    unboxed = [case.case_id for case in data.of_split("train") if case.annotation == "unknown"]
    _, outcome = settled
    assert list(outcome.beliefs) == unboxed
    assert [(row.round, row.case_id) for row in outcome.rows] == [
        (number, case_id) for number in (1, 2) for case_id in unboxed
    ]


def test_rows_tell_what_the_beliefs_hold(settled):
    _, outcome = settled
    for row in outcome.rows[-len(outcome.beliefs) :]:
        (belief,) = outcome.beliefs[row.case_id]
        assert (row.believed, row.weight) == (belief.source, round(belief.weight, 4))
        assert (row.x1 is None) == (row.n_boxes == 0)


def test_bright_squares_are_found_and_the_answers_believed(settled, data):
    _, outcome = settled
    found = [dice(each.probs > 0.5, truth(data.by_id[i])) for i, (each,) in outcome.beliefs.items()]
    assert np.mean(found) > 0.8
    assert any(each.source == HEAD for (each,) in outcome.beliefs.values())


def test_boxed_images_that_the_heads_did_not_see_judge_them(settled):
    _, outcome = settled
    assert 0.6 < outcome.head_dice <= 1
    assert 0.6 < outcome.answer_dice <= 1
    assert len(outcome.heads) == CONFIG.heads
    assert outcome.questioned.dice == pytest.approx(outcome.head_dice, abs=1e-3)
    assert 0.4 < outcome.questioned.box_iou <= 1
    assert outcome.questioned.half_dice is None  # of two folds the other is no half


def test_heads_of_half_of_the_boxes_say_what_the_other_half_gave(tmp_path, data):
    short = dataclasses.replace(CONFIG, rounds=1, heads=3, head_steps=20)
    found = images(tmp_path, data, config=short).settle(seed=0).questioned
    assert 0 < found.half_dice <= 1
    assert found.n_boxed == 6


def test_a_single_boxed_image_leaves_nothing_to_judge_by(tmp_path, data):
    short = dataclasses.replace(CONFIG, rounds=1, head_steps=10)
    outcome = images(tmp_path, data, boxed=1, config=short).settle(seed=0)
    assert (outcome.head_dice, outcome.answer_dice, outcome.thresholds) == (None, None, (0.5,))
    assert outcome.questioned is None
    assert len(outcome.heads) == 1


def same(first, second):
    assert first.rows == second.rows
    for case_id, (belief,) in first.beliefs.items():
        assert np.array_equal(belief.probs, second.beliefs[case_id][0].probs)


def test_taken_up_again_it_ends_the_same_and_asks_nothing(settled, data):
    directory, outcome = settled
    again = images(directory, data)
    same(again.settle(seed=0), outcome)
    assert (again.answers.asked, again.encodings.encoded) == (0, 0)


@pytest.mark.parametrize("budget", [0.0, 5e-6], ids=["none", "a few"])
def test_no_room_for_encodings_changes_no_result_and_is_said(
    tmp_path, settled, data, capfd, budget
):
    config = dataclasses.replace(CONFIG, encodings_gb=budget)
    same(images(tmp_path, data, config=config, budget=budget).settle(seed=0), settled[1])
    told = " ".join(capfd.readouterr().err.split())
    assert told.count(f"encodings_gb={budget:g} has no room for all encodings") == 1


def test_room_for_all_encodings_is_not_talked_of(tmp_path, data, capfd):
    short = dataclasses.replace(CONFIG, rounds=1, head_steps=3)
    images(tmp_path, data, config=short).settle(seed=0)
    assert "encodings_gb" not in capfd.readouterr().err


def test_an_encoding_is_as_exact_when_it_is_made_as_when_it_is_read(tmp_path, data):
    def features(budget):
        store = images(tmp_path, data, budget=budget).encodings
        found = store.of_cases(data.cases[:5], data)
        return store, torch.cat([encoded.features["embedding"] for _, encoded in found])

    (_, made), (kept, read), (bare, again) = features(1.0), features(1.0), features(1e-9)
    assert torch.equal(made, read)
    assert (kept.encoded, bare.encoded) == (0, 0)  # a smaller budget still reads what is there
    assert torch.equal(again, read)
    assert torch.equal(read, read.half().float())
    assert not torch.equal(read * 7, (read * 7).round())  # they were rounded at all


def test_heads_learn_the_target_in_every_view(tmp_path, data):
    several = images(tmp_path, data, views=some_views(4, (False, False)))
    cells = several._boxed_cells(torch.Generator().manual_seed(0))
    alone = images(tmp_path, data)._boxed_cells(torch.Generator().manual_seed(0))
    for every, plain in zip(cells, alone, strict=True):
        assert len(every.share) == pytest.approx(4 * len(plain.share), rel=0.1)
        # PaintingTeacher's map shows the square itself: a cell of one is as bright in any view.
        inside, outside = every.share[:, 0] > 0.9, every.share[:, 0] < 0.01
        bright = every.features.float().mean(1)
        assert bright[inside].min() > bright[outside].mean()


def test_every_view_and_the_heads_have_a_line(tmp_path, data, capsys):
    short = dataclasses.replace(CONFIG, rounds=1, head_steps=3)
    images(tmp_path, data, config=short, views=some_views(2, (False, False))).settle(0)
    told = capsys.readouterr().err
    for line in ("encode view 1 of 2: ", "encode view 2 of 2: ", "fit heads: 2/2"):
        assert told.count(line) == 1
    images(tmp_path / "one", data)._boxed_cells(torch.Generator().manual_seed(0))
    assert "encode boxed: " in capsys.readouterr().err


def test_another_seed_has_other_heads(tmp_path, data):
    short = dataclasses.replace(CONFIG, rounds=1, head_steps=3)
    first, second = (images(tmp_path, data, config=short).settle(seed) for seed in (0, 1))
    assert not torch.equal(*(next(each.heads[0].parameters()) for each in (first, second)))


def test_boxes_are_told_in_px_of_the_image_and_not_of_the_frame(tmp_path, data):
    larger = images(tmp_path, data, config=dataclasses.replace(CONFIG, rounds=1))
    # The same images in a frame of half the size.
    larger.answers = Answers(tmp_path / "half", FineTeacher(), SIZE // 2, 0.0)
    larger.frame_size = SIZE // 2
    larger.boxed = [Boxed(each.case, each.probs[::2, ::2].copy()) for each in larger.boxed]
    outcome = larger.settle(seed=0)
    rows = [row for row in outcome.rows if row.believed == HEAD]
    assert rows
    for row in rows:
        ys, xs = np.nonzero(truth(data.by_id[row.case_id]))
        expected = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert (row.x1, row.y1, row.x2, row.y2) == pytest.approx(expected, abs=6)


def maps_of(outcome, data, seen):
    """The student's maps of all unboxed images: the square where `seen`, else nothing."""
    for case_id in outcome.beliefs:
        yield truth(data.by_id[case_id]).astype(np.float32) * (0.98 if seen(case_id) else 0.0)


def test_the_surer_of_two_proposals_is_believed(settled, data):
    directory, outcome = settled
    first = next(iter(outcome.beliefs))
    after = images(directory, data).ask_student(
        maps_of(outcome, data, lambda case_id: case_id == first), outcome
    )
    assert after.beliefs[first][0].source == STUDENT
    assert dice(after.beliefs[first][0].probs > 0.5, truth(data.by_id[first])) > 0.9
    number = outcome.rows[-1].round
    rows = {row.case_id: row for row in after.rows if row.round == number + 1}
    before = {row.case_id: row for row in outcome.rows if row.round == number}
    assert list(rows) == list(outcome.beliefs)
    assert after.rows[: len(outcome.rows)] == outcome.rows
    assert rows[first].proposers_dice > 0.8
    for case_id, row in rows.items():
        assert row.believed == after.beliefs[case_id][0].source
        if case_id != first:
            # Nothing was seen there: the heads' proposal stays, and is believed less.
            kept = dataclasses.replace(before[case_id], round=number + 1)
            assert dataclasses.replace(row, proposers_dice=None) == kept
            now, then = after.beliefs[case_id][0].probs, outcome.beliefs[case_id][0].probs
            if row.believed != NOTHING:
                assert now.max() < then.max()


def test_a_less_sure_student_changes_nothing(settled, data):
    directory, outcome = settled
    unsure = (0.6 * each for each in maps_of(outcome, data, lambda _: True))
    after = images(directory, data).ask_student(unsure, outcome)
    for case_id, (belief,) in outcome.beliefs.items():
        if belief.source == HEAD:
            assert after.beliefs[case_id][0] is belief


class CoveringTeacher(FineTeacher):
    """Answers every box with the whole image."""

    def decode(self, *asked, **how):
        answers = super().decode(*asked, **how)
        whole = [torch.full_like(each.logits, 8.0) for each in answers]
        return [
            dataclasses.replace(each, logits=logits)
            for each, logits in zip(answers, whole, strict=True)
        ]


def test_answers_that_cover_the_whole_image_are_counted_and_not_believed(
    tmp_path, data, capfd, monkeypatch
):
    short = dataclasses.replace(CONFIG, rounds=1)
    asked = images(tmp_path, data, config=short)
    asked.answers.teacher = CoveringTeacher()
    outcome = asked.settle(seed=0)
    assert {row.believed for row in outcome.rows} == {NOTHING}
    told = " ".join(capfd.readouterr().err.split())
    count = len(outcome.beliefs)
    assert f"answered on 0 of {count} unboxed images; nothing to believe on {count};" in told
    assert "answers covered the whole image and count as none" in told
    assert "distill.colearning.unboxed=ignore" in told


def test_proposals_that_were_answered_are_no_cause_for_a_warning(tmp_path, data, capfd):
    images(tmp_path, data, config=dataclasses.replace(CONFIG, rounds=1)).settle(seed=0)
    told = " ".join(capfd.readouterr().err.split())
    assert "nothing proposed on" in told
    assert "unboxed=ignore" not in told


def test_a_student_that_falls_to_background_is_warned_of(settled, data, capfd):
    directory, outcome = settled
    images(directory, data).ask_student(maps_of(outcome, data, lambda _: False), outcome)
    told = " ".join(capfd.readouterr().err.split())
    assert "masks of heads and student on the same images have a Dice of 0.00" in told
    assert "it falls to background" in told
    assert "repeats the heads" not in told


def test_a_student_that_repeats_the_heads_is_warned_of(settled, data, capfd):
    directory, outcome = settled
    again = images(directory, data)
    pairs = again.encodings.of_cases(again.unboxed, data)
    heads = [head_maps(outcome.heads, encoded, SIZE).mean(0).numpy() for _, encoded in pairs]
    shown = [np.where(each > outcome.thresholds[0], 0.98, 0.0) for each in heads]
    after = again.ask_student((each.astype(np.float32) for each in shown), outcome)
    told = " ".join(capfd.readouterr().err.split())
    assert "the student repeats the heads" in told
    assert "falls to background" not in told
    asked = [row for row in after.rows if row.round == after.rows[-1].round]
    assert {row.proposers_dice for row in asked} <= {1.0, None}


def test_without_heads_nothing_is_compared(settled, data, capfd):
    directory, outcome = settled
    lost = dataclasses.replace(outcome, heads=(), thresholds=())
    after = images(directory, data).ask_student(maps_of(outcome, data, lambda _: True), lost)
    assert {row.proposers_dice for row in after.rows} == {None}
    assert "heads and student" not in capfd.readouterr().err
