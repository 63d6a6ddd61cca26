"""What is judged: an image with its true mask, from a prepared RUN or from two plain folders."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from meddistill.base.errors import InputError
from meddistill.data.formats.pictures import load_picture
from meddistill.data.intensity import IntensitySettings, to_8bit
from meddistill.data.masks import read_mask
from meddistill.run.images import image_path
from meddistill.run.tables import Case
from meddistill.run.true_masks import mask_path

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUME_SUFFIXES = (".nii", ".nii.gz", ".dcm")
MASK_ENDINGS = ("", "_mask", "_m", "_segmentation", "_seg", "_gt", "_label", "-mask", "-seg")


@dataclasses.dataclass(frozen=True)
class Subject:
    """One image to predict and, where `mask` is given, to score. `name` is what a person reads; any
    characters.

    `volume` names the volume that the image is a slice of; empty for one that stands alone.
    """

    case_id: str
    name: str
    split: str
    group: str
    class_name: str
    image: Path
    mask: Path | None
    spacing_hw_mm: tuple[float, float] | None
    volume: str = ""


def subjects_of_run(cases: Sequence[Case], data_dir: Path) -> list[Subject]:
    """Cases of a prepared RUN, in the same order."""
    volumes = [volume_of(case.source) for case in cases]
    n_slices = Counter(volumes)
    return [
        Subject(
            case_id=case.case_id,
            name=case.case_id,
            split=case.split,
            group=case.group,
            class_name=case.class_name,
            image=image_path(data_dir, case),
            mask=mask_path(data_dir, case) if case.has_mask else None,
            spacing_hw_mm=case.spacing_hw_mm,
            volume=volume if n_slices[volume] > 1 else "",
        )
        for case, volume in zip(cases, volumes, strict=True)
    ]


def volume_of(source: str) -> str:
    """The volume that a case's `source` is a slice of: the file before `#`
    (`brain.nii.gz#axial12`), a DICOM's folder.

    Empty for anything else.
    """
    file, mark, _ = source.partition("#")
    if mark and file.lower().endswith(VOLUME_SUFFIXES):
        return file
    return PurePosixPath(source).parent.as_posix() if source.lower().endswith(".dcm") else ""


def subjects_of_folders(images: Path, masks: Path) -> tuple[list[Subject], list[Path]]:
    """Images paired with masks of the same stem (or stem + one of `MASK_ENDINGS`), and the files
    without a partner.

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
    subjects, taken = [], set()
    for stem, mask in mask_of.items():
        image = by_stem[stem]
        case_id = re.sub(r"^[^A-Za-z0-9_]|[^A-Za-z0-9._-]", "_", stem)[:180]
        while case_id in taken:
            case_id += "_"
        taken.add(case_id)
        class_name = image.parent.relative_to(images).as_posix()
        subjects.append(
            Subject(
                case_id,
                image.name,
                "folder",
                case_id,
                "" if class_name == "." else class_name,
                image,
                mask,
                None,
            )
        )
    return subjects, [image for stem, image in by_stem.items() if stem not in mask_of] + strangers


def read_image(path: Path, intensity: IntensitySettings | None = None) -> np.ndarray:
    """uint8 RGB (H, W, 3) of any picture file.

    `intensity`: how values become 8-bit ones, for a picture that `prepare` has not seen; None
    leaves 8-bit pixels as they are and treats others as `prepare` does by default. Raises:
    InputError naming the file.
    """
    try:
        pixels = load_picture(path)
        wished = intensity is not None and (
            intensity.window is not None or intensity.mode != "auto"
        )
        if wished or pixels.dtype != np.uint8:
            pixels = to_8bit(pixels, intensity)
    except InputError as error:
        raise _naming(path, error) from error
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def read_truth(path: Path, size_hw: tuple[int, int]) -> np.ndarray:
    """bool (H, W). Raises: InputError naming the file that cannot be read or has another size than
    its image."""
    try:
        mask = read_mask(path)
    except InputError as error:
        raise _naming(path, error) from error
    if mask.shape != size_hw:
        raise InputError(
            f"{path} is {mask.shape[1]}x{mask.shape[0]} px, its image {size_hw[1]}x{size_hw[0]}: "
            "mask and image differ"
        )
    return mask


def _naming(path: Path, error: InputError) -> InputError:
    return error if str(path) in str(error) else InputError(f"{path}: {error}")


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
        raise InputError(f"{folder} holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _pair(images: dict[str, Path], masks: dict[str, Path]) -> tuple[dict[str, Path], list[Path]]:
    """Mask by image stem, and the masks of no image. One ending holds for all: the one that pairs
    most."""
    ending = max(MASK_ENDINGS, key=lambda end: sum(stem + end in masks for stem in images))
    pairs = {stem: masks[stem + ending] for stem in images if stem + ending in masks}
    used = set(pairs.values())
    return pairs, [mask for mask in masks.values() if mask not in used]


def _first(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths[:3])
