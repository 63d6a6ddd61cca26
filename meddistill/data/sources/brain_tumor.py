"""The Kaggle set atikaakter11 `brain-tumor-segmentation-dataset`: image/{0..3}/ID.jpg, mask/{0..3}/ID_m.jpg."""

from __future__ import annotations

from pathlib import Path

from meddistill.artifacts import Rejected
from meddistill.data.sources.base import Listing, RawCase, SourceOptions, image_files, shown
from meddistill.data.sources.files import ImageFile, MaskFiles
from meddistill.errors import InputError

CLASSES = {"0": "no_tumor", "1": "glioma", "2": "meningioma", "3": "pituitary"}


class BrainTumor:
    name = "brain-tumor"
    summary = "image/{0..3}/ID.jpg and mask/{0..3}/ID_m.jpg (Kaggle, atikaakter11)"

    def recognise(self, directory: Path) -> str | None:
        found = [code for code in CLASSES if (directory / "image" / code).is_dir()]
        if found and any((directory / "mask" / code).is_dir() for code in CLASSES):
            return f"it has image/{found[0]} and mask/"
        return None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        if not self.recognise(directory):
            raise InputError(f"{directory} lacks image/{{0..3}}/ and mask/{{0..3}}/, the layout of {self.name}")
        cases: list[RawCase] = []
        rejected: list[Rejected] = []
        for code, class_name in CLASSES.items():
            images, strange = image_files(directory / "image" / code, directory)
            masks, strange_masks = image_files(directory / "mask" / code, directory)
            rejected += strange + strange_masks
            mask_by_name = {path.stem.removesuffix("_m"): path for path in masks}
            for path in images:
                mask = mask_by_name.pop(path.stem, None)
                if mask is None:
                    rejected.append(Rejected(shown(path, directory), f"no mask {path.stem}_m.* in mask/{code}"))
                    continue
                cases.append(
                    RawCase(path.stem, shown(path, directory), ImageFile(path), MaskFiles((mask,)), None, class_name)
                )
            rejected += [
                Rejected(shown(path, directory), f"mask without an image in image/{code}")
                for path in mask_by_name.values()
            ]
        return Listing(cases, rejected)
