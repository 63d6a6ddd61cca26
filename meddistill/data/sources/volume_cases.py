"""The slices of a volume as cases, wherever it was found."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.volume import apart, meet
from meddistill.data.formats.volume_slices import (
    AXES,
    MaskSlice,
    VolumeSlice,
    channel_number,
    extent,
    grid_of,
)
from meddistill.data.raw_case import ImageRef, RawCase
from meddistill.data.sources.source import SourceOptions

MOVED = "moved"
"""The check that a mask lies where its image lies, by the name that overrules it."""


@dataclasses.dataclass(frozen=True)
class VolumeMasks:
    """The files of a volume's masks: `one`, which has them all, or one a finding."""

    one: tuple[Path, ...] = ()
    by_finding: Mapping[str, tuple[Path, ...]] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.one or self.by_finding)


def volume_cases(
    name: str,
    path: Path,
    masks: VolumeMasks,
    channel: str,
    directory: Path,
    options: SourceOptions,
    group: str,
) -> list[RawCase]:
    """A case of every slice of a volume.

    Raises: InputError where one of several channels must be chosen, or is not there, or where the mask
    does not lie where its image does.

    Args:
        name: of the volume.
        path: its file.
        masks: of it; one file at most, or one a finding.
        channel: which, of a file of several volumes, by its number.
        directory: the source folder.
        options: of these, `axis`, `labels`, `accept`, `resample_masks`, and which slices without lesion are kept.
        group: of all its slices.
    """
    count, channels = extent(path, options.axis)
    # Another word is a modality, which the names of files tell.
    number = channel_number(path, channels, int(channel) if channel.isdecimal() else None)
    mask = _first_slice(path, masks.one, options) if masks.one else None
    apart_by_finding = [
        (finding, dataclasses.replace(_first_slice(path, files, options), labels=None))
        for finding, files in masks.by_finding.items()
    ]
    together = tuple(each.path for _, each in apart_by_finding)
    width, source = len(str(count - 1)), shown(path, directory)
    cases = []
    for index in range(count):
        chance = (
            int.from_bytes(hashlib.sha256(f"{options.seed}|{name}|{index}".encode()).digest()[:8])
            / 2**64
        )
        cases.append(
            RawCase(
                f"{name}_{'xyz'[options.axis]}{index:0{width}}",
                f"{source}#{AXES[options.axis]}{index}",
                VolumeSlice(path, options.axis, index, number),
                dataclasses.replace(mask, index=index) if mask else None,
                finding_masks=tuple(
                    (finding, dataclasses.replace(each, index=index, together=together))
                    for finding, each in apart_by_finding
                ),
                looked_for=tuple(masks.by_finding) or None,
                group=group,
                is_slice=True,
                keep_if_empty=options.whole_volumes or chance < options.empty_slices,
                volume=source if options.whole_volumes else "",
                slice=index if options.whole_volumes else None,
                whole=options.whole_volumes,
            )
        )
    return cases


def _first_slice(path: Path, masks: Sequence[Path], options: SourceOptions) -> MaskSlice:
    """The first slice of a volume's mask, in one file."""
    if len(masks) > 1:
        listed = ", ".join(mask.name for mask in masks)
        raise InputError(f"several masks have its name: {listed}; choose with --masks")
    (mask,) = masks
    is_taken = MOVED in options.accept and not options.resample_masks
    grids = grid_of(path), grid_of(mask)
    why = apart(*grids)
    if why and is_taken:
        if grids[0].shape != grids[1].shape:
            told = ("x".join(map(str, grid.shape)) for grid in reversed(grids))
            raise InputError(
                f"mask {mask.name} has {' voxels, its image '.join(told)}: --accept {MOVED} takes a "
                "mask of as many; --resample-masks brings it onto the image's voxels"
            )
        return MaskSlice(mask, options.axis, 0, options.labels, path, by_voxel=True)
    if why and not options.resample_masks:
        raise InputError(
            f"{why} ({mask.name}); --resample-masks brings it onto the image's voxels, --accept "
            f"{MOVED} takes its voxels for the image's as they are stored"
        )
    if why and not meet(*grids):
        raise InputError(
            f"mask {mask.name} lies wholly outside of its image by its own header: is it another "
            "patient's?"
        )
    return MaskSlice(mask, options.axis, 0, options.labels, path if why else None)


def with_spacing(image: ImageRef, told_mm: tuple[float, float, float | None] | None) -> ImageRef:
    """The slice of a volume with the spacing (row, column, slice) that a table tells, which counts where
    its file says none."""
    if told_mm is None or not isinstance(image, VolumeSlice):
        return image
    return dataclasses.replace(image, told_mm=told_mm)


def in_split(cases: Sequence[RawCase], split: str) -> list[RawCase]:
    """The cases with the split that the source puts them in; '' for none."""
    if not split:
        return list(cases)
    return [dataclasses.replace(case, columns={"split": split}) for case in cases]
