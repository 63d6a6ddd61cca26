"""Where names do not say which files are masks: kinds of files that come in pairs, told apart by what
a few of them hold."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import load_labels
from meddistill.data.formats.volume_slices import read_volume
from meddistill.data.sources.file_roles import Roles, fits
from meddistill.data.sources.matching_rules import recurring
from meddistill.data.sources.name_patterns import pattern_of
from meddistill.data.sources.naming import Named

_SAMPLE = 3
_MOST_KINDS = 6
_FEW_VALUES = 8
_NEAR_ENDS = 16
_BIMODAL = 0.97
_FEW_LABELS = 32
_GLANCE = 100_000

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


@functools.lru_cache(maxsize=256)
def volume_looks_like_mask(path: Path) -> bool | None:
    """Whether a volume is a label map: a few whole numbers, one of them nearly everywhere; None
    where it shows one value or cannot be read."""
    try:
        voxels = read_volume(path).array.ravel(order="K")
    except InputError:
        return None
    if len(np.unique(voxels[:: max(1, voxels.size // _GLANCE)])) > _FEW_LABELS:
        return False
    values, counts = np.unique(voxels, return_counts=True)
    if len(values) < 2:
        return None
    whole = bool(np.isfinite(values).all() and (values == np.round(values)).all())
    return whole and len(values) <= _FEW_LABELS and 2 * int(counts.max()) > voxels.size


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


def refuse_unnamed_masks(volumes: Sequence[Named], directory: Path) -> None:
    """Raises: InputError where some of the volumes are label maps by what they hold. They are not
    taken for masks: that of a brain or a lung looks as a lesion's does."""
    roles = roles_by_contents(volumes, volume_looks_like_mask)
    if roles is None:
        return
    masks = [mask for kind in roles.kinds.values() for mask in kind]
    patterns = [pattern_of(kind, directory) for kind in roles.kinds.values()]
    # A pattern that fits images, too, would take them for masks.
    clear = [
        each
        for each in patterns
        if not any(fits(image.path, directory, each) for image in roles.images)
    ]
    pattern = clear[0] if clear else "PATTERN"
    raise InputError(
        f"{directory} holds {len(masks)} volumes that look like masks ({', '.join(patterns[:3])}) "
        f"beside {len(roles.images)} images, and their names do not say what they are: "
        f"--masks '{pattern}' takes them, --images '*' takes all for images"
    )


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
    seen = False
    for file in members[::step][:_SAMPLE]:
        found = looks(file.path)
        if found is False:
            return False  # volumes are large: the first image is enough
        seen = seen or found is True
    return seen
