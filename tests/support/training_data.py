"""Cases that two convolutions can learn, and a training of a few seconds on them."""

import csv

import numpy as np
import torch
from support.tiny_student import TinyStudent

from meddistill.data.frames import Preprocessing
from meddistill.run.layout import METRICS_CSV
from meddistill.settings.distill import DistillConfig
from meddistill.training.fabric import make_fabric
from meddistill.training.loop import train_student
from meddistill.training.packed_cases import CaseTarget, PackedCases, TrainingData

SIZE = 32
LEVEL = {"embedding": (6, 8, 8)}


def bright_squares(count, seed, features=True):
    """Cases whose lesion is the bright square: two convolutions can learn it."""
    generator = np.random.default_rng(seed)
    packed = PackedCases(
        [f"{seed}-{i}" for i in range(count)], SIZE, LEVEL if features else {}, max_boxes=1
    )
    for index in range(count):
        image = generator.integers(20, 90, (SIZE, SIZE, 3), dtype=np.uint8)
        probs = np.zeros((SIZE, SIZE), np.float32)
        y, x = generator.integers(4, 18, 2)
        probs[y : y + 9, x : x + 9] = 1
        image[probs > 0] = 230
        found = {"embedding": generator.standard_normal((6, 8, 8)).astype(np.float16)}
        packed.put(
            index,
            image,
            CaseTarget(
                probs,
                0 * probs,
                published_v=0.07,
                doubt=0.1 * (index % 3),
                boxes_xyxy_px=np.array([[x, y, x + 9, y + 9]], np.float32),
                features=found if features else {},
            ),
        )
    return packed


def settings(**changes):
    defaults = {
        "epochs": 3,
        "batch_size": 4,
        "lr": 0.02,
        "precision": "32-true",
        "image_size": SIZE,
        "ema_decay": 0.9,
    }
    return DistillConfig(**(defaults | changes))


def train(
    out,
    *,
    seed=0,
    features=True,
    val=4,
    cases=10,
    per_case=False,
    doubt=None,
    broken_cases=0,
    **changes,
):
    torch.manual_seed(seed)
    config = settings(**changes)
    packed = bright_squares(cases, 1, features)
    if doubt is not None:
        packed.doubt[:] = doubt
    packed.case_weight[:broken_cases] = torch.nan
    return train_student(
        TinyStudent(per_case=per_case),
        TrainingData(packed, bright_squares(val, 2, features)),
        Preprocessing(SIZE),
        config,
        fabric=make_fabric("cpu", config.precision),
        out=out,
        seed=seed,
    )


def rows(out):
    with (out / METRICS_CSV).open() as file:
        return list(csv.DictReader(file))


def same_weights(first, second):
    ours, theirs = first.student.state_dict(), second.student.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours)
