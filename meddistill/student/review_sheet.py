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
from meddistill.data.formats.pictures import encode_jpeg, encode_small_png
from meddistill.data.overlays import outline, overlay
from meddistill.data.pixels import resize
from meddistill.student.predictions_table import UNKNOWN, PredictedScan, PredictionRow
from meddistill.student.to_look_at import order_of_review, urgency, what_to_look_at
from meddistill.student.trust.reading import UNFAMILIAR

MOST_SHOWN = 1000
REVIEW = "review"
_KINDS = {".png": "png", ".jpg": "jpeg"}
_SIDE, _QUALITIES, _MOST_BYTES = 224, (60, 40, 20, 10), 13_500
_LEAST_SIDE = 256
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
:root { color-scheme: light dark; --text: #1b2733; --line: #b9c4cd; --why: #b93a24; }
@media (prefers-color-scheme: dark) {
:root { --text: #e4e9ee; --line: #47525e; --why: #ff8b73; } body { background: #14191f; } }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5em; color: var(--text); }
h1 { font-size: 1.4em; } main { display: grid; gap: 1em;
grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)); }
figure { margin: 0; border-top: 4px solid var(--line); } figure.yes { border-color: var(--why); }
img { width: 100%; max-height: 24em; object-fit: contain; background: #000; }
details { margin-bottom: 1em; } figcaption { overflow-wrap: anywhere; }
b { font-weight: 600; } .why { color: var(--why); }
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
            stem = _picture_stem(out, predicted.name, number, predicted.findings.tag(place))
            content, kind = _picture(predicted, index, place)
            for each in _KINDS:  # what another prediction left would pass for this one's
                stem.with_name(stem.name + each).unlink(missing_ok=True)
            written.append(stem.with_name(stem.name + kind))
            with atomic_path(written[-1]) as temporary:
                temporary.write_bytes(content)
    return written


def write_review_sheet(
    path: Path, out: Path, rows: Sequence[PredictionRow], measured: Sequence[str] = ()
) -> None:
    """The page of the `MOST_SHOWN` most urgent of the rows that have a picture below `out`, at most 20 MB;
    `measured`: sentences on how far its numbers are to be trusted."""
    found = [
        (row, picture)
        for row in rows
        if (picture := _picture_of(_picture_stem(out, row.name, row.slice, row.finding)))
    ]
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
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
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


def _picture_stem(out: Path, name: str, number: int | None, finding: str) -> Path:
    """Its path without the ending."""
    ends = ["" if number is None else f"@{number:04d}", f"+{finding}" if finding else ""]
    return out / REVIEW / (re.sub(r"[^\w .@+-]", "_", name + "".join(ends)))


def _picture_of(stem: Path) -> Path | None:
    paths = (stem.with_name(stem.name + kind) for kind in _KINDS)
    return next((path for path in paths if path.is_file()), None)


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
    kind = _KINDS[picture.suffix]
    return (
        f'<figure class="{escape(row.review)}">'
        f'<img loading="lazy" alt="{escape(name)}" src="data:image/{kind};base64,{content}">'
        f"<figcaption><b>{escape(name)}</b><div>{escape(told)}</div>{why}</figcaption></figure>"
    )


def _short(told: str, digits: int = 2) -> str:
    return told if told == UNKNOWN else f"{float(told):.{digits}f}"


def _picture(predicted: PredictedScan, index: int, place: int) -> tuple[bytes, str]:
    """The slice with its mask and the rim of what is doubted, about 7 kB, and the ending of its file.

    What a browser would stretch is drawn larger, so that outlines stay sharp, and as PNG where that
    is small enough.
    """
    image, mask = predicted.scan.images[index], predicted.masks[index][place]
    probs = predicted.probs[index][place]
    rgb = np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image
    is_small = 2 * max(mask.shape) <= _LEAST_SIDE
    sized = _enlarged if is_small else _shrunk
    shown = sized(mask.astype(np.uint8) * 255) > 127
    odds = sized((probs * 255).astype(np.uint8)) / 255
    picture = overlay(sized(rgb), shown, [predicted.findings.colours[place]])
    picture[outline((odds >= DOUBTED[0]) & (odds <= DOUBTED[1]))] = _DOUBT_COLOUR
    if is_small and len(content := encode_small_png(picture)) <= _MOST_BYTES:
        return content, ".png"
    for quality in _QUALITIES:
        content = encode_jpeg(picture, max_side=max(picture.shape), quality=quality)
        if len(content) <= _MOST_BYTES:
            break
    return content, ".jpg"


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    height, width = (max(1, math.ceil(side * scale)) for side in pixels.shape[:2])
    return resize(pixels, (height, width))


def _enlarged(pixels: np.ndarray) -> np.ndarray:
    """Each pixel as a square: what lies between is nothing that anybody saw."""
    times = math.ceil(_LEAST_SIDE / max(pixels.shape[:2]))
    return pixels.repeat(times, axis=0).repeat(times, axis=1)
