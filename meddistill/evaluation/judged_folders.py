"""What evaluation sees of two plain folders: images paired with masks by their stems."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import InputError
from meddistill.base.hashing import fingerprint_source, hash_files
from meddistill.data.formats.known_volume_formats import VOLUME_SUFFIXES
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.evaluation.judged_cases import JudgedCase, JudgedCases

MASK_ENDINGS = ("", "_mask", "_m", "_segmentation", "_seg", "_gt", "_label", "-mask", "-seg")


def judged_cases_of_folders(images: Path, masks: Path) -> JudgedCases:
    """Images paired with masks of the same stem (or stem + one of `MASK_ENDINGS`); files without a
    partner are named and left out.

    Folders are searched through; a file's folder below `images` is its class. Each case is its own
    group, for nothing better is known. Raises: InputError for a folder that is missing or without
    images, a stem twice, or no pair.
    """
    by_stem = _by_stem(images)
    mask_of, strangers = _pair(by_stem, _by_stem(masks))
    if not mask_of:
        raise InputError(
            f"no mask in {masks} has the stem of an image in {images}: found {_first(strangers)}, "
            f"expected {next(iter(by_stem))}.png or {next(iter(by_stem))}_mask.png"
        )
    _name_unpaired([path for stem, path in by_stem.items() if stem not in mask_of] + strangers)
    taken: set[str] = set()
    cases = []
    for stem, mask in mask_of.items():
        class_name = by_stem[stem].parent.relative_to(images).as_posix()
        case_id = _case_id(stem, taken)
        cases.append(
            JudgedCase(
                case_id=case_id,
                name=by_stem[stem].name,
                split="folder",
                group=case_id,
                class_name="" if class_name == "." else class_name,
                image=by_stem[stem],
                mask=mask,
                spacing_hw_mm=None,
            )
        )
    inputs = {
        "images": fingerprint_source(hash_files([case.image for case in cases], images), images),
        "masks": fingerprint_source(hash_files(mask_of.values(), masks), masks),
    }
    return JudgedCases(cases, inputs, groups_known=False, as_prepared=False)


def _name_unpaired(paths: Sequence[Path]) -> None:
    if paths:
        names = ", ".join(path.name for path in paths[:5]) + (", ..." if len(paths) > 5 else "")
        console.warn(f"{len(paths)} file(s) have no partner and are left out: {names}")


def _case_id(stem: str, taken: set[str]) -> str:
    """A plain name for the stem that is not `taken` yet; from then on it is."""
    case_id = re.sub(r"^[^A-Za-z0-9_]|[^A-Za-z0-9._-]", "_", stem)[:180]
    while case_id in taken:
        case_id += "_"
    taken.add(case_id)
    return case_id


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            raise InputError(
                f"{path} and {found[path.stem]} share a stem, so their pairs cannot be told apart"
            )
        found[path.stem] = path
    if not found:
        _refuse_volumes(folder)
        raise InputError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _refuse_volumes(folder: Path) -> None:
    """Raises: InputError for a folder in which volumes lie, which `prepare` alone knows how to cut."""
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(VOLUME_SUFFIXES) and path.is_file():
            raise InputError(
                f"{path} is a volume, expected pictures ({', '.join(IMAGE_SUFFIXES)}): `meddistill "
                "prepare NEW --source DIR` of a folder of images and masks cuts them (segments of 3D "
                "Slicer by their names), then `meddistill eval NEW --student STUDENT`"
            )


def _pair(images: dict[str, Path], masks: dict[str, Path]) -> tuple[dict[str, Path], list[Path]]:
    """Mask by image stem, and the masks of no image. One ending holds for all: the one that pairs
    most."""
    ending = max(MASK_ENDINGS, key=lambda end: sum(stem + end in masks for stem in images))
    pairs = {stem: masks[stem + ending] for stem in images if stem + ending in masks}
    used = set(pairs.values())
    return pairs, [mask for mask in masks.values() if mask not in used]


def _first(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:3])
