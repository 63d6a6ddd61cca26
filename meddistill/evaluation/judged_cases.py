"""What evaluation sees: images with their true masks. No module that training reaches leads here.

Training has its own view of a RUN (`run/dataset.py`: images, boxes, splits), which knows no mask.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.files import read_json
from meddistill.data.formats.pictures import load_picture
from meddistill.data.intensity import IntensitySettings, to_8bit
from meddistill.data.masks import read_mask
from meddistill.run.images import image_path
from meddistill.run.labels import annotated_boxes
from meddistill.run.layout import RUN_JSON
from meddistill.run.record import fingerprint_stage
from meddistill.run.tables import Case
from meddistill.run.true_masks import mask_path
from meddistill.run.volumes import volume_of


@dataclasses.dataclass(frozen=True)
class JudgedCase:
    """One image to predict and, where `mask` is given, to score. `name` is what a person reads; any
    characters.

    `group`: patient, or what stands for it. `spacing_hw_mm`: (row, column), None where not known.
    `volume` names the volume that the image is a slice of; empty for one that stands alone.
    `boxes`: (N, 4) px that people gave, where there is no mask to judge by; None where nobody
    looked.
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
    boxes: np.ndarray | None = dataclasses.field(default=None, compare=False)

    def read(self, intensity: IntensitySettings | None) -> tuple[np.ndarray, np.ndarray | None]:
        """The image, uint8 (H, W, 3), and its true mask, bool (H, W), if it has one.

        `intensity` as in `read_image`. Raises: InputError naming the file that cannot be read, or a
        mask of another size.
        """
        image = read_image(self.image, intensity)
        if self.mask is None:
            return image, None
        return image, read_truth(self.mask, (image.shape[0], image.shape[1]))


@dataclasses.dataclass(frozen=True)
class JudgedCases:
    """The cases of one evaluation, and what is known of all of them.

    `inputs`: fingerprints of what they were read from, by name. `groups_known`: whether it is known
    which cases are of one patient. `as_prepared`: the images are those that `prepare` made, to be
    read as they are; others must first become what the student knows.
    """

    cases: Sequence[JudgedCase]
    inputs: Mapping[str, str]
    groups_known: bool
    as_prepared: bool


def judged_cases_of_run(data_dir: Path, cases: Sequence[Case], split: str) -> JudgedCases:
    """Those of `cases`, all cases of a prepared RUN, that lie in one split; in the same order.

    Raises: ConfigError for a split without cases.
    """
    chosen = [case for case in cases if case.split == split]
    if not chosen:
        raise ConfigError(
            f"{data_dir} has no case in the split '{split}'; choose another with --split"
        )
    volumes = [volume_of(case) for case in chosen]
    n_slices = Counter(volumes)
    judged = [
        JudgedCase(
            case_id=case.case_id,
            name=case.case_id,
            split=case.split,
            group=case.group,
            class_name=case.class_name,
            image=image_path(data_dir, case),
            mask=mask_path(data_dir, case) if case.has_mask else None,
            spacing_hw_mm=case.spacing_hw_mm,
            volume=volume if n_slices[volume] > 1 else "",
            boxes=_boxes_alone(data_dir, case),
        )
        for case, volume in zip(chosen, volumes, strict=True)
    ]
    results = read_json(data_dir / RUN_JSON).get("results", {})
    return JudgedCases(
        judged,
        inputs={"data": fingerprint_stage(data_dir)},
        groups_known=bool(results.get("groups_known", False)),
        as_prepared=True,
    )


def _boxes_alone(data_dir: Path, case: Case) -> np.ndarray | None:
    if case.has_mask or case.annotation == "unknown":
        return None
    return annotated_boxes(data_dir, case)


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
