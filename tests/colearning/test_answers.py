"""Answers of the teacher are asked for once, and lie in the student's frame."""

import dataclasses
import struct
import zipfile

import numpy as np
import pytest
from support.painting_teacher import PaintingTeacher

from meddistill.colearning.answers import Answers
from meddistill.run.tables import Case

FRAME = 32
BOX = np.array([[16, 8, 48, 24]], np.float32)


class CountingTeacher(PaintingTeacher):
    """Paints, and counts the images whose boxes it was asked to decode."""

    decoded = 0

    def decode(self, encoded, boxes_xyxy_px, mask_logits=None):
        self.decoded += len(boxes_xyxy_px)
        return super().decode(encoded, boxes_xyxy_px, mask_logits)


def case(width=64, height=64):
    return Case(
        case_id="c1",
        split="train",
        group="c1",
        class_name="",
        annotation="unknown",
        has_mask=False,
        image="images/train/c1.png",
        width=width,
        height=height,
        n_boxes=0,
        spacing_mm="",
        source="c1.png",
        sha256="a" * 64,
    )


@pytest.fixture
def teacher():
    return CountingTeacher()


def ask(directory, teacher, boxes=BOX, of=None, shift=0.0):
    of = of or case()
    encoded = teacher.encode([np.zeros((of.height, of.width, 3), np.uint8)])
    return Answers(directory, teacher, FRAME, shift).to_boxes(of, encoded, boxes)


def test_the_answer_lies_where_the_box_is_in_the_frame(tmp_path, teacher):
    answer = ask(tmp_path, teacher)
    expected = np.zeros((FRAME, FRAME), bool)
    expected[4:12, 8:24] = True
    assert np.array_equal(answer.probs > 0.5, expected)
    assert answer.predicted_iou == pytest.approx(0.9)


def test_the_padding_of_the_frame_is_empty(tmp_path, teacher):
    answer = ask(tmp_path, teacher, np.array([[0, 0, 64, 32]], np.float32), case(height=32))
    assert answer.probs[:16].min() > 0.5
    assert answer.probs[16:].max() == 0


def test_of_several_boxes_the_surest_counts(tmp_path, teacher):
    both = ask(tmp_path, teacher, np.array([[0, 0, 16, 16], [32, 32, 64, 64]], np.float32))
    assert both.probs[2, 2] > 0.5
    assert both.probs[24, 24] > 0.5
    assert both.probs[24, 2] < 0.5


def test_the_same_box_is_asked_once_and_read_back_as_it_was_given(tmp_path, teacher):
    first, second = ask(tmp_path, teacher), ask(tmp_path, teacher)
    assert teacher.decoded == 1
    assert np.array_equal(first.probs, second.probs)
    assert first.predicted_iou == second.predicted_iou


def test_asked_counts_the_questions_and_not_what_was_known(tmp_path, teacher):
    answers = Answers(tmp_path, teacher, FRAME, 0.0)
    encoded = teacher.encode([np.zeros((64, 64, 3), np.uint8)])
    for boxes in (BOX, BOX, BOX + 4):
        answers.to_boxes(case(), encoded, boxes)
    assert (answers.asked, teacher.decoded) == (2, 2)


@pytest.mark.parametrize("change", ["box", "image", "teacher", "shift"])
def test_another_question_has_another_answer(tmp_path, teacher, change):
    ask(tmp_path, teacher)
    other = dataclasses.replace(case(), sha256="b" * 64) if change == "image" else case()
    if change == "teacher":
        teacher.fingerprint = "painting-2"
    ask(
        tmp_path,
        teacher,
        BOX + 4 if change == "box" else BOX,
        other,
        shift=0.5 if change == "shift" else 0.0,
    )
    assert teacher.decoded == 2
    assert len(list(tmp_path.glob("*.npz"))) == 2


def cut(path):
    path.write_bytes(path.read_bytes()[:100])


def no_archive(path):
    path.write_bytes(b"no archive")


def emptied(path):
    path.write_bytes(b"")


def broken_stream(path):
    """The compressed mask begins with a block of a kind that does not exist."""
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("probs.npy").header_offset
    content = bytearray(path.read_bytes())
    name_and_extra = struct.unpack_from("<HH", content, start + 26)
    content[start + 30 + sum(name_and_extra)] = 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        no_archive,
        emptied,
        broken_stream,
    ],
)
def test_a_damaged_answer_is_asked_for_again(tmp_path, teacher, damage):
    whole = ask(tmp_path, teacher)
    (path,) = tmp_path.glob("*.npz")
    damage(path)
    assert np.array_equal(ask(tmp_path, teacher).probs, whole.probs)
    assert teacher.decoded == 2
