"""Boxes that cannot be meant as they are: of another picture, in another unit, or no boxes at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.prepare.convert import OUTSIDE, Converted
from meddistill.data.prepare.doubts import FEW, MOST, NAMES, Doubt, Seen, first_names
from meddistill.data.raw_case import RawCase

_SAMPLE = 50
_PX = 0.5
_SLIVER_PX = 3
_SLIVER_SHARE = 0.25
_SPECK_SHARE = 1 / 200
SLIPS = "a slip of the hand?"
"""How `slips` ends."""


def shares_as_px(seen: Seen) -> Doubt | None:
    """Boxes in shares of the picture that were taken for pixels."""
    drawn = [(case, np.array(case.boxes_xyxy_px)) for case, _ in seen.pairs if case.boxes_xyxy_px]
    tiny = [case for case, boxes in drawn if (boxes[:, 2:] <= 1.5).all()]
    if len(tiny) < 2 or len(tiny) < MOST * len(drawn):
        return None
    return Doubt(
        "tiny-boxes",
        f"the boxes of {len(tiny)} of {len(drawn)} images end within 1.5 px of the corner "
        f"{first_names(tiny)}: are they shares of width and height?",
        stops=True,
    )


def outside(seen: Seen) -> Doubt | None:
    """Boxes that lie outside their pictures; whether they would fit with x and y exchanged, or a
    copy of another size."""
    drawn = [(case, result) for case, result in seen.pairs if case.boxes_xyxy_px]
    out = [case for case, result in drawn if OUTSIDE in result.reason or _sticks_out(case, result)]
    if not out:
        return None
    facts = [(case, size) for case in out[:_SAMPLE] if (size := _size_of(case))]
    why = "are they of other pictures?"
    if facts and all(_begins_before(case) for case, _ in facts):
        why = "they begin left of it or above: is their corner given where a centre is expected?"
    elif facts and all(_reach(case, (w, h)) <= 1 for case, (h, w) in facts):
        why = "all would fit with x and y exchanged"
    elif facts:
        ratio = max(_reach(case, size) for case, size in facts)
        why = (
            f"they would fit pictures {ratio:.2g} times as large: were they drawn on another copy? "
            f"--fit-boxes {1 / ratio:.2g} scales them"
        )
    return Doubt(
        "outside",
        f"boxes of {len(out)} of {len(drawn)} images lie outside the picture {first_names(out)}: {why}",
        stops=len(out) >= max(2, 0.1 * len(drawn)),
    )


def _sticks_out(case: RawCase, result: Converted) -> bool:
    """Whether a box reaches beyond the picture by more than rounding does."""
    size = (result.height, result.width)
    return bool(result.height) and (_reach(case, size) > 1 + 2 / min(size) or _begins_before(case))


def _begins_before(case: RawCase) -> bool:
    """Whether a box begins left of the picture or above it, by more than rounding does."""
    return float(np.array(case.boxes_xyxy_px)[:, :2].min()) < -2


def _size_of(case: RawCase) -> tuple[int, int] | None:
    try:
        return case.image.size_hw()
    except InputError:
        return None


def _reach(case: RawCase, size_hw: tuple[int, int]) -> float:
    """How far to the right or down the boxes reach, in widths or heights."""
    boxes = np.array(case.boxes_xyxy_px)
    height, width = size_hw
    return float(max(boxes[:, 2].max() / width, boxes[:, 3].max() / height))


def upper_left(seen: Seen) -> Doubt | None:
    """Boxes that were drawn on a smaller copy of the pictures."""
    drawn = [
        _reach(case, (result.height, result.width))
        for case, result in seen.good
        if case.boxes_xyxy_px
    ]
    if len(drawn) < 2 * FEW or max(drawn) > 0.6:
        return None
    return Doubt(
        "upper-left",
        f"all boxes of {len(drawn)} images lie in the upper left {100 * max(drawn):.0f} % of width and "
        "height: were they drawn on a smaller copy? --fit-boxes FACTOR scales them",
    )


def at_the_border(seen: Seen) -> Doubt | None:
    """Nearly all boxes touch the border of their picture."""
    counts = [len(found) for _, _, found in seen.boxed]
    total = sum(counts)
    if total < FEW:
        return None
    found = np.concatenate([found for _, _, found in seen.boxed])
    sizes = np.array([[result.width, result.height] for _, result, _ in seen.boxed])
    at = np.concatenate([found[:, :2] <= 0, found[:, 2:] >= sizes.repeat(counts, axis=0)], axis=1)
    touches = at.any(axis=1) & ~at.all(axis=1)
    boxes = int(touches.sum())
    if boxes < MOST * total:
        return None
    places = np.arange(len(counts)).repeat(counts)[touches]
    touching = [seen.boxed[place][0] for place in dict.fromkeys(places.tolist())]
    return Doubt(
        "border",
        f"{boxes} of {total} boxes touch the border of their picture {first_names(touching)}: are the "
        "pictures cut out, or the boxes shifted?",
    )


def one_size(seen: Seen) -> Doubt | None:
    """All boxes are of one size."""
    found = seen.boxed
    if len(found) < FEW:
        return None
    sides = np.concatenate([boxes[:, 2:] - boxes[:, :2] for _, _, boxes in found])
    if (np.ptp(sides, axis=0) > _PX).any():
        return None
    width, height = sides[0]
    return Doubt(
        "one-size",
        f"all {len(sides)} boxes of {len(found)} images are {width:g}x{height:g} px "
        f"{first_names(case for case, _, _ in found)}: points instead of boxes?",
    )


def small_ones(seen: Seen) -> Doubt | None:
    """Of boxes that were drawn: masks leave specks of their own."""
    drawn = {case.source: boxes for case, _, boxes in seen.boxed if case.boxes_xyxy_px}
    return next((Doubt("small-boxes", text) for text in slips(drawn)), None)


def slips(boxes: Mapping[str, np.ndarray]) -> list[str]:
    """One line about boxes (N, 4) px, by image, that are absurdly small beside the others; none where
    none is. A side under 3 px counts where others' are four times as long, an area where it is
    under a 200th of the median of at least ten."""
    if not boxes:
        return []
    of = [source for source, found in boxes.items() for _ in found]
    found = np.concatenate([found.reshape(-1, 4) for found in boxes.values()])
    sides = found[:, 2:] - found[:, :2]
    short, area = sides.min(axis=1), sides.prod(axis=1)
    small = (short < _SLIVER_PX) & (short < _SLIVER_SHARE * np.median(short))
    if len(found) >= FEW:
        small |= area < _SPECK_SHARE * np.median(area)
    places = sorted(np.flatnonzero(small).tolist(), key=lambda place: (of[place], area[place]))
    if not places:
        return []
    named = [f"{of[at]}: {sides[at, 0]:.3g}x{sides[at, 1]:.3g} px" for at in places[:NAMES]]
    more = ", ..." if len(places) > NAMES else ""
    width, height = np.median(sides, axis=0)
    are = "are" if len(places) > 1 else "is"
    return [
        f"{len(places)} of {len(found)} boxes {are} absurdly small beside the others, of about "
        f"{width:.0f}x{height:.0f} px ({', '.join(named)}{more}): {SLIPS}"
    ]
