"""A folder `images/` and, if there are masks, a folder `masks/` with files of equal stems."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from meddistill.artifacts import Rejected
from meddistill.data.sources.base import Listing, RawCase, SourceOptions, image_files, shown
from meddistill.data.sources.files import ImageFile, MaskFiles
from meddistill.errors import InputError

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "segmentations", "ground_truth", "gt", "annotations")
MASK_SUFFIXES = ("_mask", "_m", "_segmentation", "_seg", "_gt")


class Folder:
    name = "folder"
    summary = "images/ and masks/ with equal stems (or stems with " + ", ".join(MASK_SUFFIXES) + ")"

    def recognise(self, directory: Path) -> str | None:
        images, masks = _find(directory, IMAGE_FOLDERS), _find(directory, MASK_FOLDERS)
        if images and masks and any(path.is_file() for path in images.iterdir()):
            return f"it has {images.name}/ and {masks.name}/"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        image_dir, mask_dir = _find(directory, IMAGE_FOLDERS), _find(directory, MASK_FOLDERS)
        if image_dir is None:
            raise InputError(f"{directory} has no folder images/, the layout of {self.name}")
        images, rejected = image_files(image_dir, directory)
        masks: list[Path] = []
        if mask_dir is not None:
            masks, strange = image_files(mask_dir, directory)
            rejected += strange
        stems = {_key(path, image_dir) for path in images}
        suffix = _common_suffix([_key(path, mask_dir) for path in masks] if mask_dir else [], stems)
        by_stem: dict[str, list[Path]] = {}
        for path in masks:
            assert mask_dir is not None
            by_stem.setdefault(_key(path, mask_dir).removesuffix(suffix), []).append(path)
        counts = Counter(_key(path, image_dir) for path in images)
        cases = []
        for path in images:
            stem, source = _key(path, image_dir), shown(path, directory)
            mask_paths = by_stem.get(stem, [])
            if counts[stem] > 1 and mask_dir is not None:
                rejected.append(Rejected(source, f"{counts[stem]} images share the stem '{path.stem}': whose mask?"))
            elif len(mask_paths) > 1:
                names = ", ".join(mask.name for mask in mask_paths)
                rejected.append(Rejected(source, f"several masks have its stem: {names}"))
            else:
                mask = MaskFiles((mask_paths[0],)) if mask_paths else None
                class_name = path.relative_to(image_dir).parent.as_posix().strip(".")
                cases.append(RawCase(path.stem, source, ImageFile(path), mask, None, class_name))
        for stem in by_stem.keys() - stems:
            rejected += [Rejected(shown(mask, directory), "mask without an image") for mask in by_stem[stem]]
        notes = [f"masks end in '{suffix}'"] if suffix else []
        return Listing(cases, sorted(rejected, key=lambda row: row.source), notes)


def _find(directory: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        if (directory / name).is_dir():
            return directory / name
    return None


def _key(path: Path, folder: Path) -> str:
    """Path below its folder without the ending: what ties an image to its mask."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _common_suffix(mask_keys: list[str], image_keys: set[str]) -> str:
    """The ending of mask names that pairs the most masks with images; none where plain stems do as well."""
    return max(
        ("", *MASK_SUFFIXES),
        key=lambda suffix: sum(key.endswith(suffix) and key.removesuffix(suffix) in image_keys for key in mask_keys),
    )
