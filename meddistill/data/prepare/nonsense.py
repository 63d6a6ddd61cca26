"""What cannot be meant, seen before an hour of computing: each check tells the figure that shows it,
the first files, and what overrules it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from meddistill.base import console
from meddistill.base.errors import ConfigError, InputError, nearest
from meddistill.data.formats.picture_refs import ImageFile
from meddistill.data.prepare.box_doubts import (
    at_the_border,
    one_size,
    outside,
    shares_as_px,
    small_ones,
    upper_left,
)
from meddistill.data.prepare.convert import NO_VALUES, Converted
from meddistill.data.prepare.doubts import FEW, NAMES, Doubt, Seen, first_names
from meddistill.data.raw_case import RawCase
from meddistill.run.tables import Rejected

NO_BLACK_AND_WHITE = "not a black and white mask"
_MASK_SIZE = re.compile(r"mask is \d+x\d+, image \d+x\d+")


def _whole_picture(seen: Seen) -> Doubt | None:
    """Masks that mark the background, or everything."""
    masked = [(case, result) for case, result in seen.good if result.has_mask and result.boxes]
    full = [
        (case, result)
        for case, result in masked
        if result.lesion_share > 0.5
        and any(box == [0, 0, result.width, result.height] for box in result.boxes)
    ]
    if not full:
        return None
    share = float(np.median([result.lesion_share for _, result in full]))
    return Doubt(
        "whole-picture",
        f"the masks of {len(full)} of {len(masked)} images mark {100 * share:.0f} % of the picture and "
        f"touch all its sides {first_names(case for case, _ in full)}: is the background marked? --label "
        "says which values are lesion",
        stops=len(full) * 2 > len(masked),
    )


def _no_box(seen: Seen) -> Doubt | None:
    """Annotations that yield not a single box."""
    good = seen.good
    if not seen.annotated or not good or any(result.boxes for _, result in good):
        return None
    specks = [case for case, result in seen.good if result.has_mask and result.lesion_share > 0]
    if specks:
        what = f"{len(specks)} masks hold specks alone {first_names(specks)}; --set prepare.min_area_px=1"
    else:
        what = f"every mask is empty, or no object is drawn {first_names(case for case, _ in good)}"
    return Doubt(
        "no-box",
        f"the annotations of {len(good)} images yield not a single box: {what}",
        # What could not be read says for itself why.
        stops=2 * (len(seen.rejected) + sum(bool(r.reason) for _, r in seen.pairs)) < len(good),
    )


def _alike(seen: Seen) -> Doubt | None:
    if sum(bool(result.looks) for _, result in seen.good) < FEW:
        return None
    looks, count = Counter(result.looks for _, result in seen.good if result.looks).most_common(1)[
        0
    ]
    if count * 2 <= len(seen.good):
        return None
    same = [case for case, result in seen.good if result.looks == looks]
    return Doubt("alike", f"{count} of {len(seen.good)} images look the same {first_names(same)}")


def _black(seen: Seen) -> Doubt | None:
    """Pictures that show nothing; among many, a sign of a scanner's or converter's fault."""
    empty = [case for case, result in seen.pairs if NO_VALUES in result.reason]
    if len(empty) < 2 or len(empty) < 0.05 * len(seen.pairs):
        return None
    return Doubt(
        "black",
        f"{len(empty)} of {len(seen.pairs)} images hold one value alone and are left out "
        f"{first_names(empty)}: were they converted right?",
    )


def _mask_size(seen: Seen) -> Doubt | None:
    """Masks of another size than their images."""
    other = [(case, result) for case, result in seen.pairs if _MASK_SIZE.match(result.reason)]
    if not other:
        return None
    masked = sum(bool(case.masks) for case, _ in seen.pairs)
    reasons = Counter(result.reason for _, result in other).most_common(1)[0][0]
    return Doubt(
        "mask-size",
        f"the masks of {len(other)} of {masked} images have another size {first_names(c for c, _ in other)}: "
        f"{reasons}; --fit-masks resamples them by the nearest pixel",
        stops=len(other) * 2 > masked,
    )


def _lonely_masks(seen: Seen) -> Doubt | None:
    """Masks whose image is not there, where that are most."""
    lonely = [row.source for row in seen.rejected if row.reason.startswith("mask without an image")]
    paired = len({p for case, _ in seen.pairs for mask in case.masks for p in mask.files})
    if not lonely:
        return None
    names = ", ".join(lonely[:NAMES]) + (", ..." if len(lonely) > NAMES else "")
    return Doubt(
        "lonely-masks",
        f"{len(lonely)} of {len(lonely) + paired} masks have no image of their name ({names}); --images "
        "and --masks say which files belong together, such as --images '*flair*' where a patient has several",
        stops=len(lonely) > paired,
    )


def _mostly_rejected(seen: Seen) -> Doubt | None:
    """More images that cannot be read than others: what is left may be a strange choice, such as the
    slices on which a label map holds no value above 1."""
    refused = [(case, result.reason) for case, result in seen.pairs if result.reason]
    if len(refused) < 3 or 2 * len(refused) <= len(seen.pairs):
        return None
    first = Counter(_kind(reason) for _, reason in refused).most_common(1)[0]
    same = [(case, reason) for case, reason in refused if _kind(reason) == first[0]]
    hint = ""
    if NO_BLACK_AND_WHITE in same[0][1]:
        hint = "; several findings: --findings NAME=VALUE,NAME=VALUE, or auto for those of a dataset.json"
    if not hint and len(refused) == len(seen.pairs):
        return None  # that no case is left says as much
    return Doubt(
        "mostly-rejected",
        f"{len(refused)} of {len(seen.pairs)} images cannot be used, {first[1]} of them alike "
        f"{first_names(case for case, _ in same)}: {same[0][1]}{hint}",
        stops=True,
    )


def _kind(reason: str) -> str:
    """A reason without names and numbers."""
    return re.sub(r"\S*\d\S*|, \.\.\.", "", reason)


def _one_stem(seen: Seen) -> Doubt | None:
    """Images of one folder that differ in their ending alone: a table that names a stem means both."""
    by_stem: dict[str, list[RawCase]] = {}
    for case, _ in seen.good:
        if isinstance(case.image, ImageFile):
            by_stem.setdefault(case.source.rpartition(".")[0], []).append(case)
    twins = [case for cases in by_stem.values() if len(cases) > 1 for case in cases]
    if not twins:
        return None
    return Doubt(
        "one-stem",
        f"{len(twins)} images share their name but for the ending with another {first_names(twins)}: is one "
        "of them a copy?",
    )


BEFORE: tuple[Callable[[Seen], Doubt | None], ...] = (_lonely_masks, shares_as_px)
"""Checks that need no pixels."""
CHECKS: tuple[Callable[[Seen], Doubt | None], ...] = (
    _lonely_masks,
    _mask_size,
    shares_as_px,
    outside,
    _whole_picture,
    _no_box,
    upper_left,
    at_the_border,
    one_size,
    small_ones,
    _alike,
    _black,
    _one_stem,
    _mostly_rejected,
)
STOPS = (
    "moved",
    "structures",
    "lonely-masks",
    "mask-size",
    "tiny-boxes",
    "outside",
    "whole-picture",
    "no-box",
    "mostly-rejected",
)
"""What `--accept` takes: checks that may stop `prepare`."""


def check_names(accept: Sequence[str]) -> None:
    """Raises: ConfigError for a name that is no check's."""
    for name in accept:
        if name not in STOPS:
            raise ConfigError(f"accept is '{name}'{nearest(name, STOPS)}")


def check_before(
    cases: Sequence[RawCase], rejected: Sequence[Rejected], accept: Sequence[str]
) -> None:
    """What can be seen of the list of cases alone. Raises: as `doubts_about`."""
    _warnings(Seen([(case, Converted("")) for case in cases], rejected, True), BEFORE, accept)


def doubts_about(seen: Seen, accept: Sequence[str]) -> list[str]:
    """Warnings, a line each, of what can hardly be meant but does not stop.

    Raises: InputError for the first that does and is not accepted; the others are said before.
    """
    return _warnings(seen, CHECKS, accept)


def _warnings(
    seen: Seen, checks: Sequence[Callable[[Seen], Doubt | None]], accept: Sequence[str]
) -> list[str]:
    found = [doubt for check in checks if (doubt := check(seen))]
    stopping = [doubt for doubt in found if doubt.stops and doubt.name not in accept]
    if not stopping:
        return [doubt.text for doubt in found]
    for doubt in found:
        if doubt is not stopping[0]:
            console.warn(doubt.text)
    raise InputError(f"{stopping[0].text}; --accept {stopping[0].name} goes on all the same")
