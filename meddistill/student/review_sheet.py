"""review.html: what was predicted, worst first, on one page without scripts, fonts or network. Its
pictures are written with each scan, the page at the end."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from meddistill.base.files import atomic_path, write_text
from meddistill.data.formats.pictures import encode_jpeg
from meddistill.data.overlays import outline, overlay
from meddistill.data.pixels import resize
from meddistill.student.predictions_table import UNKNOWN, PredictedScan, PredictionRow
from meddistill.student.to_look_at import order_of_review, urgency, what_to_look_at
from meddistill.student.trust.reading import UNFAMILIAR

MOST_SHOWN = 1000
REVIEW = "review"
_SIDE, _QUALITIES, _MOST_BYTES = 224, (60, 40, 20, 10), 13_500
# A picture is seldom above 8 kB; of noise 24 kB, and 1,000 of those no page that opens.
DOUBTED = (0.15, 0.85)
"""Pixels whose probability lies between are doubted, and drawn so."""
_DOUBT_COLOUR = (0, 200, 255)
_MEANING = (
    "Expected Dice: with the truth, if there is a lesion; nine in ten fall into the brackets. Familiarity: "
    f"the share of own images that are at least as unlike the training images; below {UNFAMILIAR:g} "
    "this one is called unfamiliar. Anything there: the probability of a lesion."
)
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: #1b2733; }
h1 { font-size: 1.4em; } main { display: grid; gap: 1em;
grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)); }
figure { margin: 0; border-top: 4px solid #b9c4cd; } figure.yes { border-color: #c8452e; }
img { width: 100%; max-height: 24em; object-fit: contain; background: #000; }
details { margin-bottom: 1em; } figcaption { overflow-wrap: anywhere; }
b { font-weight: 600; } .why { color: #c8452e; }
"""


def write_pictures(out: Path, predicted: PredictedScan) -> list[Path]:
    """A picture a slice and finding, below `out`; of a stack only where there is a mask or a reason
    to look. Returns the files."""
    written = []
    for index in range(len(predicted.scan.images)):
        for place in range(len(predicted.findings)):
            has_mask = bool(predicted.masks[index][place].any())
            if (
                predicted.scan.is_stack
                and not has_mask
                and not predicted.review(index, place).wanted
            ):
                continue
            number = index if predicted.scan.is_stack else None
            path = _picture_path(out, predicted.name, number, predicted.findings.tag(place))
            with atomic_path(path) as temporary:
                temporary.write_bytes(_picture(predicted, index, place))
            written.append(path)
    return written


def write_review_sheet(
    path: Path, out: Path, rows: Sequence[PredictionRow], measured: Sequence[str] = ()
) -> None:
    """The page of the `MOST_SHOWN` most urgent of the rows that have a picture below `out`, at most 20 MB;
    `measured`: sentences on how far its numbers are to be trusted."""
    found = [(row, _picture_path(out, row.name, row.slice, row.finding)) for row in rows]
    found = [(row, picture) for row, picture in found if picture.is_file()]
    found.sort(key=lambda each: urgency(each[0]))
    order = order_of_review([row for row, _ in found])
    told = what_to_look_at(rows)
    if len(found) < len(rows):
        told += (
            f". {len(found)} have a picture: of a volume, slices with a mask or a reason to look"
        )
    if len(found) > MOST_SHOWN:
        told += f"; the first {MOST_SHOWN} are shown"
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>To be reviewed</title><style>{_STYLE}</style>",
        f"<h1>Predictions{', ' * bool(order)}{order}</h1>",
        f"<p>{told[0].upper()}{told[1:]}. Filled: the mask. Blue: the rim of what is doubted, probabilities from "
        f"{DOUBTED[0]:g} to {DOUBTED[1]:g}. {_MEANING} Research use; not a medical device.</p>",
        *_measured(measured),
        "<main>",
        *(_figure(row, picture) for row, picture in found[:MOST_SHOWN]),
        "</main></html>",
    ]
    write_text(path, "\n".join(parts))


def _measured(sentences: Sequence[str]) -> list[str]:
    if not sentences:
        return [
            "<p>How far to trust these numbers was not measured: <code>meddistill eval</code>.</p>"
        ]
    items = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    told = "How far to trust these numbers, as eval measured it on images of its own"
    return [f"<details><summary>{told}</summary><ul>{items}</ul></details>"]


def _picture_path(out: Path, name: str, number: int | None, finding: str) -> Path:
    ends = ["" if number is None else f"@{number:04d}", f"+{finding}" if finding else ""]
    return out / REVIEW / (re.sub(r"[^\w .@+-]", "_", name + "".join(ends)) + ".jpg")


def _figure(row: PredictionRow, picture: Path) -> str:
    name = row.name if row.slice is None else f"{row.name}, slice {row.slice}"
    name += f", {row.finding}" if row.finding else ""
    facts = []
    if row.expected_dice != UNKNOWN and row.area_px:
        low, high = _short(row.expected_dice_low), _short(row.expected_dice_high)
        facts.append(f"expected Dice {_short(row.expected_dice)} ({low} to {high})")
    if row.familiarity != UNKNOWN:
        facts.append(f"familiarity {_short(row.familiarity, 3)}")
    if row.p_finding != UNKNOWN:
        facts.append(f"anything there: {_short(row.p_finding)}")
    told = "; ".join(facts) or "not known how far to trust it"
    why = f'<div class="why">{escape(row.review_why)}</div>' if row.review_why else ""
    content = base64.b64encode(picture.read_bytes()).decode()
    return (
        f'<figure class="{escape(row.review)}">'
        f'<img loading="lazy" alt="{escape(name)}" src="data:image/jpeg;base64,{content}">'
        f"<figcaption><b>{escape(name)}</b><div>{escape(told)}</div>{why}</figcaption></figure>"
    )


def _short(told: str, digits: int = 2) -> str:
    return told if told == UNKNOWN else f"{float(told):.{digits}f}"


def _picture(predicted: PredictedScan, index: int, place: int) -> bytes:
    """JPEG of the slice with its mask and the rim of what is doubted, about 7 kB."""
    image, mask = predicted.scan.images[index], predicted.masks[index][place]
    probs = predicted.probs[index][place]
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    scale = min(1.0, _SIDE / max(mask.shape))
    size_hw = (max(1, math.ceil(mask.shape[0] * scale)), max(1, math.ceil(mask.shape[1] * scale)))
    small = resize(rgb, size_hw)
    shown = resize(mask.astype(np.uint8) * 255, size_hw) > 127
    odds = resize((probs * 255).astype(np.uint8), size_hw) / 255
    picture = overlay(small, shown, [predicted.findings.colours[place]])
    picture[outline((odds >= DOUBTED[0]) & (odds <= DOUBTED[1]))] = _DOUBT_COLOUR
    for quality in _QUALITIES:
        content = encode_jpeg(picture, max_side=_SIDE, quality=quality)
        if len(content) <= _MOST_BYTES:
            break
    return content
