"""Which cases the teacher is asked about, with which boxes; and the key of each answer.

A key covers image, boxes, teacher, settings and frame, so that a changed box makes that case's
target anew and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from meddistill.base import console
from meddistill.data.frames import from_frame
from meddistill.run.tables import Case
from meddistill.settings import identity
from meddistill.settings.targets import TargetsConfig
from meddistill.targets.asking import Question, jittered_boxes, logit_shift
from meddistill.targets.prompts import ANNOTATED, CARRIED
from meddistill.targets.walks import Walk
from meddistill.teachers.teacher import Teacher

_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class TargetRequest:
    """A case and the boxes (N, 4) float32 px that prompt the teacher.

    `prompt_source`: `annotated`, `detected`, `student` or `none`. `frame_size`: side of the square
    frame of the target, px. `guess`: (S, S) uint8 in 1/255, a student's probabilities in its frame,
    for a teacher that masks may prompt. `finding`: as in `Prompt`; requests of one case lie
    together. `walk`: where the teacher follows the boxes to this case by its memory, which they lie
    on the first slice of.
    """

    case: Case
    boxes_xyxy_px: np.ndarray
    prompt_source: str
    frame_size: int
    guess: np.ndarray | None = None
    finding: str = ""
    walk: Walk | None = None

    @property
    def boxed(self) -> Case:
        """The case that the boxes lie on."""
        return self.case if self.walk is None else self.walk.boxed

    @property
    def seed_name(self) -> str:
        """What tells the jitter of cases and findings apart."""
        return f"{self.boxed.case_id} {self.finding}" if self.finding else self.boxed.case_id


@dataclasses.dataclass(frozen=True)
class Job:
    """A request with its boxes inside the image, and the key of its target. `first`: of the jobs of
    its case, which keeps the image's features."""

    request: TargetRequest
    boxes: np.ndarray
    key: str
    first: bool = True

    @property
    def is_kept(self) -> bool:
        """Whether there is a file of it: of findings that are not there none is needed."""
        return self.first or len(self.boxes) > 0

    @property
    def case(self) -> Case:
        return self.request.case


def prepare_jobs(
    teacher: Teacher, requests: Sequence[TargetRequest], config: TargetsConfig, no_box: str
) -> list[Job]:
    """Clip and drop boxes, leave out what has none, and say how many of each.

    Args:
        teacher: who will be asked.
        requests: the cases and their boxes as they were given.
        config: settings that the targets depend on.
        no_box: `skip` a case without a box, or `empty`: it gets an empty target.
    """
    jobs: list[Job] = []
    clipped, degenerate, without = 0, [], 0
    for request in requests:
        given = np.asarray(request.boxes_xyxy_px, np.float32).reshape(-1, 4)
        boxes = _clip(given, request.boxed)
        whole = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
        clipped += int((boxes != given).any(1)[whole].sum())
        if not whole.all():
            degenerate.append(request.case.case_id)
        boxes = boxes[whole]
        if len(boxes) == 0 and no_box != "empty":
            without += 1
            continue
        first = not jobs or jobs[-1].case.case_id != request.case.case_id
        jobs.append(Job(request, boxes, _key(teacher, request, boxes, config), first))
    if clipped:
        console.say(f"{clipped} box(es) reached outside their image and were clipped")
    if degenerate:
        console.warn(
            f"dropped boxes smaller than 1 px of {len(degenerate)} case(s): "
            f"{', '.join(degenerate[:5])}"
        )
    if without:
        console.say(f"{without} case(s) without a box get no target")
    return jobs


def to_question(job: Job, image: np.ndarray, config: TargetsConfig) -> Question:
    """The job as the teacher is asked, with its `image` uint8 RGB (H, W, 3)."""
    request, size_hw = job.request, (image.shape[0], image.shape[1])
    copies, share = config.jitter_copies, config.jitter_share
    boxed_hw = (request.boxed.height, request.boxed.width)
    boxes = jittered_boxes(job.boxes, boxed_hw, copies, share, request.seed_name, config.seed)
    guess = request.guess
    if guess is not None:
        frame = torch.from_numpy(guess.astype(np.float32) / 255)
        guess = from_frame(frame[None, None], size_hw)[0, 0].numpy()
    follow = None
    if request.walk is not None:
        follow = functools.partial(request.walk.reply, request.case)
    return Question(image, boxes, request.frame_size, _views(request, config), guess, follow)


def _clip(boxes_xyxy_px: np.ndarray, case: Case) -> np.ndarray:
    boxes = boxes_xyxy_px.copy()
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, case.width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, case.height)
    return boxes


def _key(teacher: Teacher, request: TargetRequest, boxes: np.ndarray, config: TargetsConfig) -> str:
    """What the target depends on, hashed. Thresholds are left out: they judge a target, they do not
    change it."""
    views = _views(request, config)
    resolved = {
        "views": views,
        "zoom": 0.0 if views == "whole" else config.zoom,
        "logit_shift": logit_shift(teacher, config),
        "seed": f"{config.seed} {request.seed_name}",
    }
    content = {
        "format": _FORMAT,
        "image": request.case.sha256,
        "boxes": [[round(float(side), 2) for side in box] for box in boxes],
        "teacher": teacher.fingerprint,
        "frame_size": request.frame_size,
        **identity.of_target(config, resolved),
    }
    if request.guess is not None and teacher.takes_masks:
        content["guess"] = hashlib.sha256(request.guess.tobytes()).hexdigest()
    if request.walk is not None:
        content["walk"] = [case.sha256 for case in request.walk.before(request.case)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]


def _views(request: TargetRequest, config: TargetsConfig) -> str:
    if request.walk is not None:
        return "whole"  # a window would have to move with what it shows
    if config.views != "auto":
        return config.views
    return "both" if request.prompt_source in (ANNOTATED, CARRIED) else "whole"
