"""A folder `images/` and, if there are masks, a folder `masks/` with files of equal stems."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.picture_refs import ImageFile, MaskFiles
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files
from meddistill.run.tables import Rejected

IMAGE_FOLDERS = ("images", "image", "imgs", "img")
MASK_FOLDERS = ("masks", "mask", "labels", "segmentations", "ground_truth", "gt", "annotations")
_SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "test", "testing")
MASK_SUFFIXES = ("_mask", "_m", "_segmentation", "_seg", "_gt")


class Folder:
    name = "folder"
    summary = (
        "images/ and masks/ with equal stems; masks may end in "
        + ", ".join(MASK_SUFFIXES)
        + " and lie beside"
    )
    general = True

    def recognise(self, directory: Path) -> str | None:
        images, masks = _find(directory, IMAGE_FOLDERS), _find(directory, MASK_FOLDERS)
        if images and masks:
            return f"it has {images.name}/ and {masks.name}/"
        suffix = next(
            (end for end in MASK_SUFFIXES if any_file(directory, f"*{end}.*", depth=2)), None
        )
        return f"it has files that end in {suffix}" if suffix and not images else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        image_dir, mask_dir = _find(directory, IMAGE_FOLDERS), _find(directory, MASK_FOLDERS)
        if image_dir is None:
            return self._list_beside(directory, options)
        images, rejected = image_files(image_dir, directory)
        masks: dict[str, list[Path]] = {}
        notes = []
        if mask_dir is not None:
            files, strange = image_files(mask_dir, directory)
            rejected += strange
            suffix = _common_suffix(
                [_key(path, mask_dir) for path in files], {_key(path, image_dir) for path in images}
            )
            notes = [f"masks end in '{suffix}'"] if suffix else []
            masks = by_name(files, lambda path: _key(path, mask_dir).removesuffix(suffix))
        cases, unpaired = _pair(
            images, masks, image_dir, directory, options, has_masks=mask_dir is not None
        )
        return Listing(cases, [*rejected, *unpaired], notes)

    def _list_beside(self, directory: Path, options: SourceOptions) -> Listing:
        """Images and masks in the same folders: a mask is what ends in the one suffix that pairs
        most files."""
        files, rejected = image_files(directory, directory)
        keys = [_key(path, directory) for path in files]
        suffix = max(MASK_SUFFIXES, key=lambda suffix: _paired(keys, set(keys), suffix))
        if not _paired(keys, set(keys), suffix):
            raise InputError(f"{directory} has no folder images/, the layout of {self.name}")
        masks = by_name(
            [path for path in files if path.stem.endswith(suffix)],
            lambda path: _key(path, directory).removesuffix(suffix),
        )
        images = [path for path in files if not path.stem.endswith(suffix)]
        cases, unpaired = _pair(images, masks, directory, directory, options, has_masks=True)
        return Listing(
            cases, [*rejected, *unpaired], [f"masks end in '{suffix}' and lie beside the images"]
        )


def _pair(
    images: list[Path],
    masks: dict[str, list[Path]],
    image_dir: Path,
    directory: Path,
    options: SourceOptions,
    has_masks: bool,
) -> tuple[list[RawCase], list[Rejected]]:
    """Cases of all images: one without a mask is unknown here, because people mask some of their
    images."""
    counts = Counter(_key(path, image_dir) for path in images)
    cases, rejected = [], []
    for path in images:
        key, source = _key(path, image_dir), shown(path, directory)
        mask_paths = masks.get(key, [])
        if counts[key] > 1 and has_masks:
            rejected.append(
                Rejected(source, f"{counts[key]} images share the stem '{path.stem}': whose mask?")
            )
        elif len(mask_paths) > 1:
            names = ", ".join(mask.name for mask in mask_paths)
            rejected.append(Rejected(source, f"several masks have its stem: {names}"))
        else:
            mask = MaskFiles((mask_paths[0],), options.labels) if mask_paths else None
            folders = path.relative_to(image_dir).parts[:-1]
            splits = [folder for folder in folders if folder.lower() in _SPLIT_FOLDERS]
            columns = {"split": splits[0]} if splits else {}
            class_name = "/".join(
                folder for folder in folders if folder.lower() not in _SPLIT_FOLDERS
            )
            cases.append(
                RawCase(path.stem, source, ImageFile(path), mask, None, class_name, "", columns)
            )
    for key in masks.keys() - counts.keys():
        rejected += [
            Rejected(shown(mask, directory), "mask without an image") for mask in masks[key]
        ]
    return cases, sorted(rejected, key=lambda row: row.source)


def _find(directory: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        if (directory / name).is_dir():
            return directory / name
    return None


def _key(path: Path, folder: Path) -> str:
    """Path below its folder without the ending: what ties an image to its mask."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _common_suffix(mask_keys: list[str], image_keys: set[str]) -> str:
    """The ending of mask names that pairs the most masks with images; '' where plain stems do as
    well."""
    return max(("", *MASK_SUFFIXES), key=lambda suffix: _paired(mask_keys, image_keys, suffix))


def _paired(mask_keys: list[str], image_keys: set[str], suffix: str) -> int:
    return sum(key.endswith(suffix) and key.removesuffix(suffix) in image_keys for key in mask_keys)
