"""What evaluation sees: images with their true masks. No module that training reaches leads here.

Training has its own view of a RUN (`run/dataset.py`: images, boxes, splits), which knows no mask.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from meddistill.base.errors import ConfigError, InputError, naming
from meddistill.base.files import read_json
from meddistill.data.findings import LESION, SEPARATOR, Findings, as_planes
from meddistill.data.formats.pictures import load_labels, load_picture
from meddistill.data.intensity import IntensitySettings, to_8bit
from meddistill.data.masks import read_mask
from meddistill.run.audits import AuditRow
from meddistill.run.findings import read_findings
from meddistill.run.fingerprints import fingerprint_stage
from meddistill.run.images import check_as_prepared, image_path
from meddistill.run.labels import annotated_findings
from meddistill.run.layout import RUN_JSON
from meddistill.run.tables import Case
from meddistill.run.true_masks import mask_path
from meddistill.run.volumes import volume_of


@dataclasses.dataclass(frozen=True)
class JudgedCase:
    """One image to predict and, where `mask` is given, to score. `name` is what a person reads; any
    characters.

    `group`: patient, or what stands for it. `spacing_hw_mm`: (row, column), None where not known.
    `volume` names the volume that the image is a slice of; empty for one that stands alone.
    `boxes`: (N, 4) px a finding that people gave, where there is no mask to judge by; None where
    nobody looked. `looked_for`: whether each finding was; empty: all were. `slice`, `slice_mm`: its
    number in the volume and the distance to the next in mm, None where not known. `is_empty`: somebody
    looked and found nothing, where others are judged by masks: that is the truth, though no file says
    so. `sha256`: of the image as `prepare` wrote it; empty where it did not.
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
    boxes: Sequence[np.ndarray] | None = dataclasses.field(default=None, compare=False)
    looked_for: tuple[bool, ...] = ()
    slice: int | None = None
    slice_mm: float | None = None
    is_empty: bool = False
    sha256: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether its true masks are known."""
        return self.mask is not None or self.is_empty

    def read(
        self, intensity: IntensitySettings | None, findings: Findings = LESION
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The image, uint8 (H, W, 3), and its true masks, bool (C, H, W) of `findings`, if it has
        any.

        `intensity` as in `read_image`. Raises: InputError naming the file that cannot be read, or a
        mask of another size, or an image that is another than `prepare` wrote.
        """
        image = read_image(self.image, intensity)
        check_as_prepared(self.image, self.sha256)
        size_hw = (image.shape[0], image.shape[1])
        if self.mask is not None:
            return image, read_truth(self.mask, size_hw, findings)
        return image, np.zeros((len(findings), *size_hw), bool) if self.is_empty else None


@dataclasses.dataclass(frozen=True)
class JudgedCases:
    """The cases of one evaluation, and what is known of all of them.

    `inputs`: fingerprints of what they were read from, by name. `groups_known`: whether it is known
    which cases are of one patient. `as_prepared`: the images are those that `prepare` made, to be
    read as they are; others must first become what the student knows. `findings`: what their masks
    hold; None: those of the student. `audit`: by case id what a person settled, where that is the
    mask to judge by. `box_px`: components below so many pixels got no box.
    """

    cases: Sequence[JudgedCase]
    inputs: Mapping[str, str]
    groups_known: bool
    as_prepared: bool
    findings: Findings | None = None
    audit: Mapping[str, AuditRow] = dataclasses.field(default_factory=dict)
    box_px: int = 1


def judged_cases_of_run(data_dir: Path, cases: Sequence[Case], split: str) -> JudgedCases:
    """Those of `cases`, all cases of a prepared RUN, that lie in one split; in the same order.

    Raises: ConfigError for a split without cases.
    """
    chosen = [case for case in cases if case.split == split]
    if not chosen:
        raise ConfigError(
            f"{data_dir} has no case in the split '{split}'; choose another with --split"
        )
    findings = read_findings(data_dir)
    volumes = [volume_of(case) for case in chosen]
    n_slices = Counter(volumes)
    by_masks = any(case.has_mask for case in chosen)
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
            boxes=_boxes_alone(data_dir, case, findings, by_masks),
            looked_for=_looked_for(case, findings),
            slice=case.slice,
            slice_mm=case.slice_mm,
            is_empty=by_masks and not case.has_mask and case.annotation == "none",
            sha256=case.sha256,
        )
        for case, volume in zip(chosen, volumes, strict=True)
    ]
    record = read_json(data_dir / RUN_JSON)
    return JudgedCases(
        judged,
        inputs={"data": fingerprint_stage(data_dir)},
        groups_known=bool(record.get("results", {}).get("groups_known", False)),
        as_prepared=True,
        findings=findings,
        box_px=int(record.get("settings", {}).get("min_area_px", 1)),
    )


def _boxes_alone(
    data_dir: Path, case: Case, findings: Findings, by_masks: bool
) -> list[np.ndarray] | None:
    if case.has_mask or case.annotation == "unknown" or (by_masks and case.annotation == "none"):
        return None
    boxes, which = annotated_findings(data_dir, case)
    if findings.is_one:
        return [boxes]
    return [boxes[which == place] for place in range(len(findings))]


def _looked_for(case: Case, findings: Findings) -> tuple[bool, ...]:
    """A true mask knows all that the case names, also where boxes are hidden."""
    if not case.findings:
        return ()
    named = case.findings.split(SEPARATOR)
    return tuple(name in named for name in findings.names)


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
        raise naming(path, error) from error
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def read_truth(path: Path, size_hw: tuple[int, int], findings: Findings = LESION) -> np.ndarray:
    """bool (C, H, W). Raises: InputError naming the file that cannot be read or has another size
    than its image."""
    planes = read_planes(path, findings)
    if planes.shape[1:] != size_hw:
        raise InputError(
            f"{path} is {planes.shape[2]}x{planes.shape[1]} px, its image {size_hw[1]}x{size_hw[0]}"
            ": mask and image differ"
        )
    return planes


def read_planes(path: Path, findings: Findings) -> np.ndarray:
    """bool (C, H, W) of a mask file: black and white of one finding, else a label map as
    `Findings.encode` makes it. Raises: InputError naming the file."""
    try:
        if findings.is_one:
            return as_planes(read_mask(path))
        return findings.decode(load_labels(path)[0], path.name)
    except InputError as error:
        raise naming(path, error) from error
