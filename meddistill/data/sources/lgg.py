"""Lower-grade glioma (kaggle_3m): TCGA_*/TCGA_*_N.tif and TCGA_*_N_mask.tif, a folder a patient."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.sources.pairing import by_name, pair
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files


class Lgg:
    name = "lgg"
    summary = "TCGA_*/TCGA_*_N.tif and TCGA_*_N_mask.tif (kaggle_3m)"
    general = False

    def recognise(self, directory: Path) -> str | None:
        mask = any_file(directory, "TCGA_*_mask.tif")
        return f"it has {shown(mask, directory)}" if mask else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        paths, rejected = image_files(directory, directory)
        masks = [path for path in paths if path.stem.endswith("_mask")]
        images = [path for path in paths if not path.stem.endswith("_mask")]
        cases, unpaired = pair(
            images,
            by_name(masks, lambda path: path.stem.removesuffix("_mask")),
            directory,
            options,
            key=lambda path: path.stem,
            group=lambda path: path.parent.name,
        )
        return Listing(
            cases, [*rejected, *unpaired], ["groups are the TCGA folders, one a patient"]
        )
