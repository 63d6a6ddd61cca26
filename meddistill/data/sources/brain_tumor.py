"""The Kaggle set atikaakter11 `brain-tumor-segmentation-dataset`: image/{0..3}/ID.jpg,
mask/{0..3}/ID_m.jpg."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.sources.pairing import by_name, pair
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import image_files

CLASSES = {"0": "no_tumor", "1": "glioma", "2": "meningioma", "3": "pituitary"}


class BrainTumor:
    name = "brain-tumor"
    summary = "image/{0..3}/ID.jpg and mask/{0..3}/ID_m.jpg (Kaggle, atikaakter11)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        found = [code for code in CLASSES if (directory / "image" / code).is_dir()]
        if found and any((directory / "mask" / code).is_dir() for code in CLASSES):
            return f"it has image/{found[0]}/ and mask/"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        if not self.recognise(directory):
            raise InputError(
                f"{directory} lacks image/{{0..3}}/ and mask/{{0..3}}/, the layout of {self.name}"
            )
        images, rejected = image_files(directory / "image", directory)
        masks, strange = image_files(directory / "mask", directory)
        images = [path for path in images if path.parent.name in CLASSES]
        cases, unpaired = pair(
            images,
            by_name(masks, lambda path: f"{path.parent.name}/{path.stem.removesuffix('_m')}"),
            directory,
            options,
            key=lambda path: f"{path.parent.name}/{path.stem}",
            class_name=lambda path: CLASSES[path.parent.name],
        )
        return Listing(cases, [*rejected, *strange, *unpaired])
