"""A picture of how far the student is: a few cases, each as image, target and the student's mask,
one below another."""

from __future__ import annotations

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from meddistill.data.frames import Preprocessing
from meddistill.data.overlays import GAP_PX, overlay
from meddistill.data.pixels import caption, resize
from meddistill.training.losses import soft_dice_agreement
from meddistill.training.packed_cases import PackedCases
from meddistill.training.selection import predict_probs

CASES = 6
_TILE_PX = 224


def choose_places(cases: PackedCases) -> Tensor:
    """At most `CASES` places in `cases`, the same every time, evenly spread over those whose target
    has a lesion.

    Over all of them where no target has one.
    """
    found = cases.with_lesion()
    places = found if len(found) else torch.arange(len(cases))
    return places[torch.linspace(0, len(places) - 1, min(CASES, len(places))).round().long()]


def draw_cases(
    student: nn.Module,
    cases: PackedCases,
    places: Tensor,
    preprocessing: Preprocessing,
    fabric: Fabric,
) -> np.ndarray:
    """uint8 RGB: a column a case of `places`; from top to bottom its frame, the target and the
    student's mask.

    Both masks are probabilities of at least 0.5, drawn as in the report. The captions hold the case
    id and the student's soft Dice with the target.

    Args:
        student: in eval mode.
        cases: where they are packed.
        places: (N,) int64, which of them.
        preprocessing: of the images.
        fabric: where the student computes.
    """
    batch = cases.batch(places)
    probs = predict_probs(student, batch.images, preprocessing, fabric)
    agreement = soft_dice_agreement(probs, batch.probs).tolist()
    columns = []
    for column, place in enumerate(places.tolist()):
        image = _tile(_shown(batch.images[column], preprocessing).round().to(torch.uint8))
        # Of several findings all in one: what matters here is whether anything is found.
        target, pred = (
            _tile(maps[column].amax(0, keepdim=True))[..., 0] >= 0.5
            for maps in (batch.probs, probs)
        )
        tiles = [
            caption(image, cases.case_ids[place]),
            caption(overlay(image, target), "target"),
            caption(overlay(image, pred), f"student {agreement[column]:.2f}"),
        ]
        columns.append(_joined(tiles, axis=0))
    return _joined(columns, axis=1)


def _shown(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(3, S, S): of a slice with its neighbours the slice."""
    k = preprocessing.context
    return image[k : k + 1].expand(3, -1, -1) if k else image


def _tile(frame: Tensor) -> np.ndarray:
    """(C, S, S) to (side, side, C)."""
    pixels = resize(frame.permute(1, 2, 0).contiguous().cpu().numpy(), (_TILE_PX, _TILE_PX))
    return pixels.reshape(_TILE_PX, _TILE_PX, -1)


def _joined(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """The pictures beside or below one another, a white gap between."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP_PX
    gap = np.full(shape, 255, dtype=np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=axis)
