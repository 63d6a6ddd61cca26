"""One raw case into one 8-bit PNG, its mask, and what is annotated in it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from meddistill.base.errors import InputError, why_rejected
from meddistill.base.paths import printable
from meddistill.data.boxes import clip_boxes, mask_to_boxes, unite_boxes
from meddistill.data.findings import LESION, Findings, as_planes
from meddistill.data.formats.pictures import encode_palette_png, encode_png
from meddistill.data.intensity import IntensitySettings
from meddistill.data.masks import StrangeValuesError
from meddistill.data.pixels import one_thread
from meddistill.data.prepare.duplicates import perceptual_hash
from meddistill.data.prepare.naming import looked_for
from meddistill.data.raw_case import RawCase
from meddistill.data.shown import shown, shows_nothing

OUTSIDE = "lie outside the image"
NO_VALUES = "image is constant"
"""Parts of reasons, by which `nonsense` counts them."""
_SAME_SHAPE = 0.02
"""Masks are resampled to images whose ratio of sides is theirs within this share."""


@dataclasses.dataclass(frozen=True)
class ConvertSettings:
    """What of the settings changes the pixels or boxes of a case."""

    min_area_px: int
    merge_distance_px: float = 0.0
    boxes_per: str = "component"
    findings: Findings = LESION
    complete: bool = True
    intensity: IntensitySettings = dataclasses.field(default_factory=IntensitySettings)
    fit_masks: bool = False


@dataclasses.dataclass(frozen=True)
class Converted:
    """What became of a raw case: `reason` is empty where it became an image, else why it did not.

    `skipped`: no case and nobody's fault, such as a slice of a volume without lesion. `annotation`
    and `boxes` (x1, y1, x2, y2 px, half-open) are as in cases.csv; `lesion_share` is the mask's
    share of the image (of the boxes' where there is no mask). `key` names its files while the split
    is not known; `looks` is the perceptual hash. `box_findings`: the place of each box's finding;
    `looked_for`: of each finding whether somebody did; `strange`: mask values that mean none, with
    their pixels; `slice_mm`: as in cases.csv.
    """

    key: str
    reason: str = ""
    skipped: bool = False
    height: int = 0
    width: int = 0
    annotation: str = "unknown"
    boxes: list[list[float]] = dataclasses.field(default_factory=list)
    has_mask: bool = False
    lesion_share: float = 0.0
    spacing_mm: str = ""
    sha256: str = ""
    looks: str = ""
    box_findings: list[int] = dataclasses.field(default_factory=list)
    looked_for: list[bool] = dataclasses.field(default_factory=list)
    strange: dict[str, int] = dataclasses.field(default_factory=dict)
    slice_mm: float | None = None


@one_thread()
def convert(case: RawCase, key: str, staging: Path, settings: ConvertSettings) -> Converted:
    """Read one case and write `staging/KEY.png` and, with a mask, `staging/KEY.mask.png`.

    Args:
        case: what to read.
        key: its `case_key`.
        staging: the folder that both files go to.
        settings: what shapes pixels and boxes.
    """
    try:
        read = _read(case, settings)
    except StrangeValuesError as error:
        return Converted(key, reason=printable(str(error)), strange=error.values)
    except InputError as error:
        return Converted(key, reason=printable(" ".join(why_rejected(error).split())))
    except OSError as error:
        return Converted(key, reason=f"cannot be read: {error.strerror or error}")
    except MemoryError:
        return Converted(key, reason="does not fit into memory")
    if read is None:
        return Converted(key, skipped=True)
    mask, said, size_hw = read.mask, read.said, read.image.shape[:2]
    _write(staging, f"{key}.png", read.content)
    if mask is not None:
        _write(staging, f"{key}.mask.png", encode_mask(mask, settings.findings))
    return Converted(
        key=key,
        height=size_hw[0],
        width=size_hw[1],
        annotation=said.annotation,
        boxes=[[float(value) for value in box] for box in said.boxes],
        box_findings=said.findings,
        looked_for=said.looked_for,
        has_mask=mask is not None,
        lesion_share=_share(mask) if mask is not None else _boxes_share(said.boxes, size_hw),
        spacing_mm=read.spacing_mm,
        sha256=hashlib.sha256(read.content).hexdigest(),
        looks=perceptual_hash(read.image) if read.image.any() else "",
        slice_mm=read.slice_mm,
    )


@dataclasses.dataclass(frozen=True)
class _Read:
    """A case as it was read: the 8-bit image and the PNG that holds it, the mask (C, H, W), and what
    is annotated."""

    image: np.ndarray
    content: bytes
    mask: np.ndarray | None
    said: _Said
    spacing_mm: str
    slice_mm: float | None


def _read(case: RawCase, settings: ConvertSettings) -> _Read | None:
    """None for what is no case and nobody's fault: a slice that is not wanted, or that is constant
    and empty. Raises: InputError, OSError or MemoryError for what cannot be read."""
    # The mask first: a slice that is not wanted need not be read.
    mask = _planes(case, settings.findings)
    is_empty = mask is None or not mask.any()
    if mask is not None and is_empty and not case.keep_if_empty:
        return None
    picture = case.image.load()
    if case.is_slice and not case.whole and is_empty and shows_nothing(picture.pixels):
        return None
    image = shown(picture, settings.intensity, blank=case.whole and is_empty)
    # Compressing the same pixels again would be most of the work.
    content = picture.png if picture.png and image is picture.pixels else encode_png(image)
    size_hw = image.shape[:2]
    if mask is not None and settings.fit_masks:
        mask = np.stack([_fitted(plane, size_hw) for plane in mask])
    if mask is not None and mask.shape[1:] != size_hw:
        raise InputError(
            f"mask is {mask.shape[2]}x{mask.shape[1]}, image {size_hw[1]}x{size_hw[0]}"
        )
    if mask is not None and settings.findings.settles:
        _check_apart(mask, settings.findings)
    said = _annotate(case, mask, size_hw, settings)
    if mask is not None and mask.dtype != bool:
        mask = mask > 0  # the numbers of objects have served
    spacing = picture.spacing_hw_mm
    spacing_mm = f"{spacing[0]:g},{spacing[1]:g}" if spacing else ""
    return _Read(image, content, mask, said, spacing_mm, picture.slice_mm)


def _check_apart(planes: np.ndarray, findings: Findings) -> None:
    """Raises: InputError where a finding (of planes (C, H, W) that exclude each other) would be lost
    for the most part under later ones, as a tumour would below its organ."""
    labels = findings.encode(planes > 0)
    for place, plane in enumerate(planes):
        marked, kept = np.count_nonzero(plane), np.count_nonzero(labels == place + 1)
        if 2 * kept < marked:
            raise InputError(
                f"findings exclude each other, but '{findings.names[place]}' lies below others in "
                f"{marked - kept} of {marked} px: --set prepare.overlap=overlapping keeps both"
            )


def _fitted(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The mask (h, w) by the nearest pixel in the image's size, where both have one ratio of sides."""
    scales = size_hw[0] / mask.shape[0], size_hw[1] / mask.shape[1]
    if abs(scales[0] / scales[1] - 1) > _SAME_SHAPE:
        return mask
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) / scale).astype(int), old - 1)
        for new, scale, old in zip(size_hw, scales, mask.shape, strict=True)
    )
    return np.asarray(mask[rows[:, None], columns])


def _planes(case: RawCase, findings: Findings) -> np.ndarray | None:
    """The mask of each finding, bool (C, H, W); None for a case without a mask. Raises: InputError
    for a mask that does not say which finding it is of."""
    masks = {name: mask for name, mask in case.finding_masks if name in findings.names}
    if not masks and case.mask is None:
        return None
    if masks and not findings.is_one:
        loaded = {name: mask.load() for name, mask in masks.items()}
        sizes = {name: f"{plane.shape[1]}x{plane.shape[0]}" for name, plane in loaded.items()}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(f"its masks differ in size: {told}")
        nothing = np.zeros_like(next(iter(loaded.values())))
        return np.stack([loaded.get(name, nothing) for name in findings.names])
    if case.mask is None:
        return None
    found = as_planes(case.mask.load())
    if len(found) == len(findings):
        return found
    if case.class_name in findings.names or not found.any():
        return np.stack([(name == case.class_name) * found[0] for name in findings.names])
    raise InputError(
        "its mask does not say which finding it holds: name their values (--findings a=1,b=2), or "
        "take the class of each case (--findings from-class)"
    )


@dataclasses.dataclass(frozen=True)
class _Said:
    """What is annotated in a case: boxes (N, 4) with the place of each one's finding, and of each
    finding whether it was looked for."""

    boxes: np.ndarray
    findings: list[int]
    annotation: str
    looked_for: list[bool]


_NO_BOXES = np.zeros((0, 4), dtype=np.float32)


def _annotate(
    case: RawCase, mask: np.ndarray | None, size_hw: tuple[int, int], settings: ConvertSettings
) -> _Said:
    """Boxes and annotation of a case with `mask` (C, H, W). Boxes that people drew go before those
    of a mask."""
    findings = settings.findings
    looked = looked_for(case, findings, settings.complete)
    if case.boxes_xyxy_px is not None:
        drawn = _drawn_boxes(case, size_hw, findings)
        specks = [False] * len(findings)
    elif mask is None or case.unannotated:
        return _Said(_NO_BOXES, [], "unknown", looked)
    else:
        drawn = [mask_to_boxes(plane, settings.min_area_px) for plane in mask]
        # Specks alone: neither a lesion worth a box nor a healthy image to learn from.
        specks = [
            bool(plane.any()) and not len(boxes) for plane, boxes in zip(mask, drawn, strict=True)
        ]
    looked = [was and not speck for was, speck in zip(looked, specks, strict=True)]
    boxes, which = [_NO_BOXES], []
    for place, found in enumerate(drawn):
        if looked[place]:
            united = unite_boxes(found, settings.merge_distance_px, settings.boxes_per == "case")
            boxes.append(united)
            which += [place] * len(united)
    if not settings.complete and findings.is_one and not which:
        looked = [False]
    annotation = "boxes" if which else "none" if any(looked) else "unknown"
    return _Said(np.concatenate(boxes), which, annotation, looked)


def _drawn_boxes(case: RawCase, size_hw: tuple[int, int], findings: Findings) -> list[np.ndarray]:
    """The boxes that people drew, (N, 4) a finding; those of other classes are left out."""
    assert case.boxes_xyxy_px is not None
    boxes = clip_boxes(np.array(case.boxes_xyxy_px, dtype=np.float32), size_hw)
    outside = (boxes[:, 2:] - boxes[:, :2] <= 0).any(axis=1)
    if outside.any():
        raise InputError(f"{int(outside.sum())} of its boxes {OUTSIDE} or have no area")
    if findings.is_one:
        return [boxes]
    names = case.box_findings
    if len(names) != len(boxes) or not any(names):
        names = (case.class_name,) * len(boxes)
    if any(not name for name in names):
        raise InputError("a box does not say which finding it is of")
    return [boxes[[each == name for each in names]].reshape(-1, 4) for name in findings.names]


def encode_mask(planes: np.ndarray, findings: Findings) -> bytes:
    """The PNG of a mask (C, H, W): black and white of one finding, else with a palette that shows
    each in its colour."""
    labels = findings.encode(planes)
    if findings.is_one or labels.dtype != np.uint8:
        return encode_png(labels)
    return encode_palette_png(labels, findings.palette(), ", ".join(findings.names))


def _share(planes: np.ndarray) -> float:
    """The share of pixels (C, H, W) on which there is anything."""
    anything = planes[0] if len(planes) == 1 else planes.any(axis=0)
    return np.count_nonzero(anything) / anything.size


def _boxes_share(boxes: np.ndarray, size_hw: tuple[int, int]) -> float:
    sides = boxes[:, 2:] - boxes[:, :2]
    return min(1.0, float(sides.prod(axis=1).sum()) / (size_hw[0] * size_hw[1]))


def _write(directory: Path, name: str, content: bytes) -> None:
    # Keyed by content and only read after its journal line, so a plain rename is enough. Text, as
    # paths that are taken apart cost as much as the writing.
    temporary = f"{directory}/.{name}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(content)
    os.replace(temporary, f"{directory}/{name}")
