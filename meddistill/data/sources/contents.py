"""Where names do not say which files are masks: kinds of files that come in pairs, told apart by what
a few of them hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import load_labels
from meddistill.data.sources.file_roles import Roles
from meddistill.data.sources.matching_rules import recurring
from meddistill.data.sources.naming import Named

_SAMPLE = 3
_MOST_KINDS = 6
_FEW_VALUES = 8
_NEAR_ENDS = 16
_BIMODAL = 0.97

Looks = Callable[[Path], bool | None]


def looks_like_mask(path: Path) -> bool | None:
    """Whether a picture holds a few values alone (black and white if it is compressed with loss);
    None where it shows one value or cannot be read."""
    try:
        pixels, lossy = load_labels(path)
    except InputError:
        return None
    if pixels.ndim == 3:
        colours = pixels.reshape(-1, 3)[:: max(1, pixels.size // 3_000_000)]
        if not (colours == colours[:, :1]).all():
            return not lossy and 1 < len(np.unique(colours, axis=0)) <= _FEW_VALUES
        pixels = pixels[..., 0]
    values = np.unique(pixels)
    if len(values) < 2:
        return None
    if len(values) <= _FEW_VALUES:
        return True
    if not lossy or pixels.dtype != np.uint8:
        return False
    at_ends = (pixels <= _NEAR_ENDS) | (pixels >= 255 - _NEAR_ENDS)
    return bool(at_ends.mean() >= _BIMODAL and (pixels >= 255 - _NEAR_ENDS).any())


def roles_by_contents(files: Sequence[Named], looks: Looks = looks_like_mask) -> Roles | None:
    """Images and masks where kinds of files with equal names are found (by folder, by ending, by a
    word that recurs) of which some look like masks and others do not; None where there are none."""
    often = recurring(files)
    divisions: tuple[Callable[[Named], tuple[str, ...]], ...] = (
        lambda file: file.folders[:1],
        lambda file: file.folders[-1:],
        lambda file: (file.path.suffix.lower(),),
        lambda file: tuple(word for word in file.stem_words if word in often),
        lambda file: file.stem_words[-1:],
        lambda file: file.stem_words[:1],
    )
    for division in divisions:
        kinds: dict[tuple[str, ...], list[Named]] = {}
        for file in files:
            kinds.setdefault(division(file), []).append(file)
        if not 2 <= len(kinds) <= _MOST_KINDS:
            continue
        masks = {kind for kind, members in kinds.items() if _look_alike(members, looks)}
        images = [kind for kind in kinds if kind not in masks]
        if masks and len(images) >= 1:
            shown = [file for file in files if division(file) not in masks]
            return Roles(shown, _kinds([file for file in files if division(file) in masks]), [])
    return None


def _kinds(masks: Sequence[Named]) -> dict[tuple[str, ...], list[Named]]:
    """Masks by the last word of their names where a few such words recur: two people's masks of one
    image are two kinds."""
    ends = Counter(file.stem_words[-1] for file in masks if file.stem_words)
    often = {word for word, n in ends.items() if not word.isdigit() and n >= max(3, len(masks) / 4)}
    kinds: dict[tuple[str, ...], list[Named]] = {}
    for file in masks:
        last = [word for word in file.stem_words[-1:] if word in often]
        kinds.setdefault(("by contents", *last), []).append(file)
    return kinds


def _look_alike(members: Sequence[Named], looks: Looks) -> bool:
    """Whether a sample of the files looks like masks: every one that shows anything."""
    step = max(1, len(members) // _SAMPLE)
    found = [looks(file.path) for file in members[::step][:_SAMPLE]]
    seen = [each for each in found if each is not None]
    return bool(seen) and all(seen)
