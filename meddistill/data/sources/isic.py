"""ISIC skin lesions: ISIC_*.jpg and ISIC_*_segmentation.png, in one folder or in two."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.paths import shown
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
        return Listing(cases, [*rejected, *unpaired])
