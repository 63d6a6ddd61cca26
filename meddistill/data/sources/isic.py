"""ISIC skin lesions: ISIC_*.jpg and ISIC_*_segmentation.png, in one folder or in two."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.sources.naming import SPLIT_WORDS, words_of
from meddistill.data.sources.pairing import by_name, pair
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files

_MASK = "_segmentation"
_OTHER = ("_superpixels", "_attribute_")


class Isic:
    name = "isic"
    summary = "ISIC_*.jpg and ISIC_*_segmentation.png"
    general = False

    def recognise(self, directory: Path) -> str | None:
        mask = any_file(directory, f"ISIC_*{_MASK}.png")
        return f"it has {shown(mask, directory)}" if mask else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        paths, rejected = image_files(directory, directory)
        paths = [path for path in paths if not any(part in path.stem for part in _OTHER)]
        masks = [path for path in paths if path.stem.endswith(_MASK)]
        images = [path for path in paths if not path.stem.endswith(_MASK)]
        cases, unpaired = pair(
            images,
            by_name(masks, lambda path: path.stem.removesuffix(_MASK)),
            directory,
            options,
            key=lambda path: path.stem,
        )
        cases = [
            dataclasses.replace(case, columns={"split": split})
            if (split := _split_of(case.image.files[0], directory))
            else case
            for case in cases
        ]
        return Listing(cases, [*rejected, *unpaired])


def _split_of(image: Path, directory: Path) -> str:
    """The split that a folder's name has among others: `ISIC2018_Task1-2_Training_Input`."""
    words = [word for part in image.relative_to(directory).parts[:-1] for word in words_of(part)]
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "")
