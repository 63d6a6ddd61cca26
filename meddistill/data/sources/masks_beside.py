"""Masks that lie beside annotated images: they serve the evaluation alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.picture_refs import MaskFiles
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.folder import MASK_SUFFIXES
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import SourceOptions
from meddistill.run.tables import Rejected

SPLIT_FOLDERS = ("train", "training", "trainval", "val", "valid", "validation", "test", "testing")
_MASK_FOLDERS = ("masks", "mask", "segmentations", "ground_truth", "gt")
# Pascal VOC's label maps number classes and objects: no black and white masks.
_OTHER_FOLDERS = ("segmentationclass", "segmentationobject")


def split_off_masks(pictures: Sequence[Path], directory: Path) -> tuple[list[Path], list[Path]]:
    """Pictures without those that are masks by their folder, or by an ending such as `_mask` after
    another one's name; and the masks."""
    images: list[Path] = []
    masks: list[Path] = []
    stems = {path.with_suffix("").as_posix() for path in pictures}
    for path in pictures:
        folders = {part.lower() for part in path.relative_to(directory).parts[:-1]}
        key = path.with_suffix("").as_posix()
        beside = any(key.endswith(end) and key.removesuffix(end) in stems for end in MASK_SUFFIXES)
        if folders.intersection(_OTHER_FOLDERS):
            continue
        (masks if beside or folders.intersection(_MASK_FOLDERS) else images).append(path)
    return (images, masks) if images else (list(pictures), [])


def masks_of(
    cases: Sequence[RawCase], masks: Sequence[Path], directory: Path, options: SourceOptions
) -> tuple[list[RawCase], list[Rejected]]:
    """The cases, each with the one mask of its stem, which only serves the evaluation; and masks
    that no image has."""
    if not masks:
        return list(cases), []
    found = by_name(masks, lambda path: _stem(path))
    stems = by_name([Path(case.source) for case in cases], lambda path: path.stem)
    paired, used = [], set()
    for case in cases:
        stem = Path(case.source).stem
        fits = found.get(stem, [])
        if len(fits) != 1 or len(stems[stem]) != 1:
            paired.append(case)
            continue
        used.add(stem)
        mask = MaskFiles((fits[0],), options.labels)
        paired.append(dataclasses.replace(case, mask=mask, unannotated=True))
    left = [path for stem, paths in found.items() if stem not in used for path in paths]
    return paired, [Rejected(shown(path, directory), "mask without an image") for path in left]


def _stem(path: Path) -> str:
    end = next((end for end in MASK_SUFFIXES if path.stem.endswith(end)), "")
    return path.stem.removesuffix(end) or path.stem
