"""What the teacher says to a case: each box and jittered copies of it, whole or zoomed, fused into
one soft mask."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from meddistill.data.frames import scaled_hw
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.placing import part_on_image
from meddistill.targets.scores import Scores, box_ious_of_masks, mask_iou, stability
from meddistill.targets.zoom import Window, boxes_in_window, cut_and_enlarge, zoom_window
from meddistill.teachers.teacher import BoxMasks, Encoded, Teacher, encode_in_memory

_AGREEMENT_SIDE = 512
"""Masks of copies are compared at about this size, px."""
_PIXELS_AT_ONCE = 1 << 25
"""Of the plain boxes' maps, as many boxes at a time as have these together; at least one."""
_GUESS_EPSILON = 1e-4
"""A guess of 0 or 1 is as sure as this: a logit of 9.2."""


@dataclasses.dataclass(frozen=True)
class Question:
    """A case as the teacher is asked about it.

    `boxes_xyxy_px`: (1 + copies, N, 4) px of the image, the plain boxes first (`jittered_boxes`).
    `frame_size`: side of the frame that the answer comes in, px. `views`: the image `whole`, a
    window around each box enlarged (`zoom`), or `both`. `guess`: (H, W) float32 in [0, 1], the
    student's probabilities in the image, which prompt a teacher that takes masks beside each box,
    where it sees the image whole. `follow`: where the boxes lie on another slice, what a teacher's
    memory says to them here, from the encoding of the image and the boxes (copies * N, 4); it sees
    the image `whole`.
    """

    image: np.ndarray
    boxes_xyxy_px: np.ndarray
    frame_size: int
    views: str = "whole"
    guess: np.ndarray | None = None
    follow: Callable[[Encoded, np.ndarray], BoxMasks] | None = None


@dataclasses.dataclass(frozen=True)
class Answer:
    """Mean and variance over copies and views, (S, S) float32, 0 in the frame's padding; and the
    case's scores.

    The teacher's `logit_shift` is added to the logit of the mean: averaged first, the copies'
    disagreement at the edge widens the mask. What that is worth: .github/docs/teacher.md.
    """

    probs: Tensor
    uncertainty: Tensor
    scores: Scores


@dataclasses.dataclass(frozen=True)
class _View:
    """One picture for the encoder: a window of the image, and the boxes (copies, n, 4) in its
    px.
    """

    picture: np.ndarray
    window: Window
    boxes: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Look:
    """One way of seeing all boxes of a case: the whole image, or a window for each box; and the
    teacher's replies."""

    views: Sequence[_View]
    replies: Sequence[BoxMasks]

    def fused(
        self,
        teacher: Teacher,
        copy: int,
        copies: int,
        size_hw: tuple[int, int],
        content_hw: tuple[int, int],
    ) -> Tensor:
        """Of one copy, the largest logit over its boxes at `content_hw`, (H, W).

        Args:
            teacher: whose replies these are.
            copy: which copy of the boxes, 0 the plain ones.
            copies: how many there are.
            size_hw: of the image.
            content_hw: what the image is resized to.
        """
        largest: Tensor | None = None
        for view, reply in zip(self.views, self.replies, strict=True):
            logits = _of_copy(reply, copy, copies).amax(0, keepdim=True)
            part = part_on_image(teacher, logits, view.window, size_hw, content_hw)
            largest = part.whole(content_hw)[0] if largest is None else part.larger_of(largest)
        assert largest is not None
        return largest

    def plain(
        self,
        teacher: Teacher,
        boxes: range,
        copies: int,
        size_hw: tuple[int, int],
        content_hw: tuple[int, int],
    ) -> Tensor:
        """Logits of some of the plain boxes at `content_hw`, (len(boxes), H, W)."""
        maps, first = [], 0
        for view, reply in zip(self.views, self.replies, strict=True):
            count = view.boxes.shape[1]
            chosen = slice(max(0, boxes.start - first), max(0, boxes.stop - first))
            logits = _of_copy(reply, 0, copies)[chosen]
            if len(logits):
                part = part_on_image(teacher, logits, view.window, size_hw, content_hw)
                maps.append(part.whole(content_hw))
            first += count
        return torch.cat(maps)


def _of_copy(reply: BoxMasks, copy: int, copies: int) -> Tensor:
    """A view's logits of one copy of its boxes, (n, h, w)."""
    return reply.logits.view(copies, -1, *reply.logits.shape[-2:])[copy]


def jittered_boxes(
    boxes_xyxy_px: np.ndarray,
    size_hw: tuple[int, int],
    copies: int,
    share: float,
    case_id: str,
    seed: int,
) -> np.ndarray:
    """The boxes and `copies` jittered versions: (1 + copies, N, 4) float32, the plain boxes first.

    Each side moves by up to `share` of the box's width or height, uniformly, and stays inside the
    image. The same for a case whatever its place in the data set.

    Args:
        boxes_xyxy_px: (N, 4) px of the image.
        size_hw: of the image.
        copies: how many jittered versions.
        share: of a box's side, at most 0.5.
        case_id: tells the cases' draws apart.
        seed: of the draw.
    """
    boxes = np.asarray(boxes_xyxy_px, np.float64).reshape(-1, 4)
    digest = hashlib.sha256(f"{seed} {case_id}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    sides = np.stack([boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]] * 2, axis=1)
    moved = boxes + rng.uniform(-share, share, (copies, *boxes.shape)) * sides
    height, width = size_hw
    moved[..., 0::2] = moved[..., 0::2].clip(0, width)
    moved[..., 1::2] = moved[..., 1::2].clip(0, height)
    return np.concatenate([boxes[None], moved]).astype(np.float32)


def ask_teacher(
    teacher: Teacher, questions: Sequence[Question], config: TargetsConfig, *, whole: bool = False
) -> tuple[list[Answer], Encoded | None]:
    """Answer a batch of questions; every picture is encoded once and all its boxes decoded
    together.

    Returns the answers and, with `whole`, the encoding of the whole images, else None.

    Args:
        teacher: who is asked.
        questions: a batch of cases.
        config: zoom and shift.
        whole: encode every whole image, for its features; else one without a box, which gives
            zeros anyway, is not looked at.
    """
    encoded = None
    looks: list[list[_Look]] = [[] for _ in questions]
    seen_whole = [
        question.views != "zoom" and question.boxes_xyxy_px.shape[1] > 0 for question in questions
    ]
    asked = [index for index, seen in enumerate(seen_whole) if seen or whole]
    if asked:
        groups = _of_one_image(questions, asked)
        seen_images = encode_in_memory(teacher, [questions[group[0]].image for group in groups])
        inside = [
            [index for index in group if seen_whole[index] and questions[index].follow is None]
            for group in groups
        ]
        chosen = [[questions[index] for index in group] for group in inside]
        replies = _decode_whole(teacher, seen_images, chosen) if any(inside) else []
        for group, reply in zip(inside, replies, strict=False):
            start = 0
            for index in group:
                stop = start + questions[index].boxes_xyxy_px.reshape(-1, 4).shape[0]
                own = BoxMasks(reply.logits[start:stop], reply.predicted_iou[start:stop])
                looks[index].append(_Look([_whole_view(questions[index])], [own]))
                start = stop
        for place, group in enumerate(groups):
            for index in group:
                follow, boxes = questions[index].follow, questions[index].boxes_xyxy_px
                if follow is not None:
                    own = follow(seen_images.of_one(place), boxes.reshape(-1, 4))
                    looks[index].append(_Look([_whole_view(questions[index])], [own]))
        encoded = seen_images if whole else None
    views = [[] if q.views == "whole" else list(_zoomed_views(q, config.zoom)) for q in questions]
    answers = _decode_views(teacher, [view for case in views for view in case], len(questions))
    for look, case_views in zip(looks, views, strict=True):
        if case_views:
            look.append(_Look(case_views, [next(answers) for _ in case_views]))
    shift = logit_shift(teacher, config)
    return [_fuse(teacher, *pair, shift) for pair in zip(questions, looks, strict=True)], encoded


def _of_one_image(questions: Sequence[Question], asked: Sequence[int]) -> list[list[int]]:
    """Places in `questions` by image, which questions of several findings share."""
    groups: dict[int, list[int]] = {}
    for index in asked:
        groups.setdefault(id(questions[index].image), []).append(index)
    return list(groups.values())


def _decode_whole(
    teacher: Teacher, encoded: Encoded, questions: Sequence[Sequence[Question]]
) -> list[BoxMasks]:
    """The replies to all boxes of each image, those of its questions one after the other."""
    nothing = np.zeros((0, 4), np.float32)
    prompts = [
        np.concatenate([nothing, *(each.boxes_xyxy_px.reshape(-1, 4) for each in group)])
        for group in questions
    ]
    if not teacher.takes_masks or all(each.guess is None for group in questions for each in group):
        return teacher.decode(encoded, prompts)
    guesses = []
    for group in questions:
        found = [logits for each in group if (logits := _guess_logits(each)) is not None]
        guesses.append(torch.cat(found) if found else None)
    return teacher.decode(encoded, prompts, guesses)


def _guess_logits(question: Question) -> Tensor | None:
    """The student's logits for each box and copy, (copies * N, H, W); outside its plain box a
    lesion is another's."""
    if question.guess is None:
        return None
    guess = torch.from_numpy(np.ascontiguousarray(question.guess, np.float32))
    logits = torch.logit(guess, eps=_GUESS_EPSILON)
    copies, count = question.boxes_xyxy_px.shape[:2]
    alone = torch.full(
        (count, *logits.shape), float(torch.logit(torch.zeros(()), eps=_GUESS_EPSILON))
    )
    for index, (x1, y1, x2, y2) in enumerate(question.boxes_xyxy_px[0].tolist()):
        rows, columns = slice(math.floor(y1), math.ceil(y2)), slice(math.floor(x1), math.ceil(x2))
        alone[index, rows, columns] = logits[rows, columns]
    return alone.repeat(copies, 1, 1)


def logit_shift(teacher: Teacher, config: TargetsConfig) -> float:
    """What is added to the logit of the teacher's mean: the config's value, else the teacher's
    own."""
    return teacher.logit_shift if config.logit_shift is None else config.logit_shift


def _whole_view(question: Question) -> _View:
    height, width = question.image.shape[:2]
    return _View(question.image, (0, 0, width, height), question.boxes_xyxy_px)


def _zoomed_views(question: Question, context: float) -> Iterator[_View]:
    size_hw = (question.image.shape[0], question.image.shape[1])
    for number in range(question.boxes_xyxy_px.shape[1]):
        boxes = question.boxes_xyxy_px[:, number : number + 1]
        window = zoom_window(boxes[0, 0], size_hw, context)
        picture = cut_and_enlarge(question.image, window)
        yield _View(
            picture, window, boxes_in_window(boxes, window, (picture.shape[0], picture.shape[1]))
        )


def _decode_views(teacher: Teacher, views: Sequence[_View], batch_size: int) -> Iterator[BoxMasks]:
    for start in range(0, len(views), batch_size):
        batch = views[start : start + batch_size]
        encoded = encode_in_memory(teacher, [view.picture for view in batch])
        yield from teacher.decode(encoded, [view.boxes.reshape(-1, 4) for view in batch])


def _fuse(teacher: Teacher, question: Question, looks: Sequence[_Look], shift: float) -> Answer:
    """A copy of all boxes gives a map a look, the largest logit over boxes; mean and variance are
    over all maps."""
    copies, count = question.boxes_xyxy_px.shape[:2]
    size_hw = (question.image.shape[0], question.image.shape[1])
    content = scaled_hw(size_hw, question.frame_size)
    padding = (0, question.frame_size - content[1], 0, question.frame_size - content[0])
    if count == 0:
        empty = torch.zeros(question.frame_size, question.frame_size)
        return Answer(empty, empty, Scores())
    total = shifted_total = squares = torch.zeros(content)
    step = max(1, question.frame_size // _AGREEMENT_SIDE)
    masks = []
    # One map at a time: the frame of a test case is as large as its image.
    for look in looks:
        for copy in range(copies):
            logits = look.fused(teacher, copy, copies, size_hw, content)
            probs = torch.sigmoid(logits + shift)
            total = total.to(probs) + torch.sigmoid(logits)
            shifted_total, squares = (
                shifted_total.to(probs) + probs,
                squares.to(probs) + probs.square(),
            )
            masks.append(probs[::step, ::step] > 0.5)
    mean = _shifted(total / len(masks), shift)
    variance = (squares / len(masks) - (shifted_total / len(masks)).square()).clamp(0, 0.25)
    scale = np.array([content[1] / size_hw[1], content[0] / size_hw[0]] * 2, np.float32)
    boxes = question.boxes_xyxy_px[0] * scale
    variances: list[Tensor] = []
    ious: list[float] = []
    at_once = max(1, _PIXELS_AT_ONCE // (content[0] * content[1]))
    for start in range(0, count, at_once):
        some = range(start, min(start + at_once, count))
        plain = [
            torch.sigmoid(look.plain(teacher, some, copies, size_hw, content)) for look in looks
        ]
        variances.append(plain[0].flatten(1).var(1))
        mask = _shifted(torch.stack(plain).mean(0), shift) > 0.5
        ious.extend(box_ious_of_masks(mask.cpu(), torch.from_numpy(boxes[start : some.stop])))
    replies = [reply for look in looks for reply in look.replies]
    scores = Scores(
        v=float(torch.cat(variances).mean()),
        agreement=float(mask_iou(torch.stack(masks), (mean > 0.5)[::step, ::step]).mean()),
        stability=float(np.mean([stability(reply.logits) for reply in replies])),
        predicted_iou=float(torch.cat([reply.predicted_iou for reply in replies]).mean()),
        box_iou=sum(ious) / len(ious),
        area_share=float((mean > 0.5).float().mean()),
    )
    return Answer(F.pad(mean, padding), F.pad(variance, padding), scores)


def _shifted(probs: Tensor, shift: float) -> Tensor:
    """sigmoid(logit(p) + shift), which stays exact at p = 0 and 1."""
    odds = math.exp(shift)
    return odds * probs / (odds * probs + 1 - probs)
