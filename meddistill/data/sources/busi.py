"""Breast ultrasound (Dataset_BUSI_with_GT): `benign/benign (1).png`, `benign (1)_mask.png`, `benign
(1)_mask_1.png`."""

from __future__ import annotations

import re
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.sources.pairing import by_name, pair
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files

_MASK = re.compile(r"_mask(_\d+)?$")


class Busi:
    name = "busi"
    summary = "benign/, malignant/ and normal/ with `benign (1).png` and `benign (1)_mask.png`, `_mask_1.png` united"
    general = False

    def recognise(self, directory: Path) -> str | None:
        mask = any_file(
            directory, "benign (*)_mask.png", "malignant (*)_mask.png", "normal (*)_mask.png"
        )
        return f"it has '{shown(mask, directory)}'" if mask else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        paths, rejected = image_files(directory, directory)
        masks = [path for path in paths if _MASK.search(path.stem)]
        images = [path for path in paths if not _MASK.search(path.stem)]
        cases, unpaired = pair(
            images,
            by_name(masks, lambda path: (path.parent / _MASK.sub("", path.stem)).as_posix()),
            directory,
            options,
            key=lambda path: (path.parent / path.stem).as_posix(),
            class_name=lambda path: path.stem.split(" ")[0],
        )
        return Listing(cases, [*rejected, *unpaired])
