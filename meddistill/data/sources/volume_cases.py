"""The slices of a volume as cases, wherever it was found."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.errors import ConfigError, InputError
from meddistill.base.paths import shown
from meddistill.data.formats.volume import apart
from meddistill.data.formats.volume_slices import MaskSlice, VolumeSlice, extent, grid_of
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.source import SourceOptions

AXES = ("sagittal", "coronal", "axial")
MOVED = "moved"
"""The check that a mask lies where its image lies, by the name that overrules it."""


def volume_cases(
    name: str,
    path: Path,
    masks: Sequence[Path],
    channel: str,
    directory: Path,
    options: SourceOptions,
    group: str,
) -> list[RawCase]:
    """A case of every slice of a volume.

    Raises: ConfigError where one of several channels must be chosen; InputError where the mask does
    not lie where its image does.

    Args:
        name: of the volume.
        path: its file.
        masks: files of masks of it, one at most.
        channel: which, of a volume of several.
        directory: the source folder.
        options: of these, `axis`, `labels`, `accept`, `resample_masks`, and which slices without lesion are kept.
        group: of all its slices.
    """
    count, channels = extent(path, options.axis)
    number = _channel(path, channels, channel)
    mask = _mask_of(path, masks, options)
    onto = None
    if mask is not None and options.resample_masks and apart(grid_of(path), grid_of(mask)):
        onto = path
    width = len(str(count - 1))
    cases = []
    for index in range(count):
        chance = (
            int.from_bytes(hashlib.sha256(f"{options.seed}|{name}|{index}".encode()).digest()[:8])
            / 2**64
        )
        cases.append(
            RawCase(
                f"{name}_{'xyz'[options.axis]}{index:0{width}}",
                f"{shown(path, directory)}#{AXES[options.axis]}{index}",
                VolumeSlice(path, options.axis, index, number),
                MaskSlice(mask, options.axis, index, options.labels, onto) if mask else None,
                group=group,
                is_slice=True,
                keep_if_empty=options.whole_volumes or chance < options.empty_slices,
                volume=shown(path, directory) if options.whole_volumes else "",
                slice=index if options.whole_volumes else None,
                whole=options.whole_volumes,
            )
        )
    return cases


def _channel(path: Path, channels: int, chosen: str) -> int:
    if channels == 1:
        return 0
    if not chosen.isdecimal() or int(chosen) >= channels:
        raise ConfigError(
            f"{path.name} has {channels} channels; choose one with --set prepare.channel=0"
        )
    return int(chosen)


def _mask_of(path: Path, masks: Sequence[Path], options: SourceOptions) -> Path | None:
    """The volume's mask; None where it has none."""
    if len(masks) > 1:
        listed = ", ".join(mask.name for mask in masks)
        raise InputError(f"several masks have its name: {listed}; choose with --masks")
    mask = masks[0] if masks else None
    taken = MOVED in options.accept or options.resample_masks
    if mask is not None and not taken and (why := apart(grid_of(path), grid_of(mask))):
        raise InputError(
            f"{why} ({mask.name}); --resample-masks brings it onto the image's voxels, --accept "
            f"{MOVED} takes it as it is stored"
        )
    return mask


def in_split(cases: Sequence[RawCase], split: str) -> list[RawCase]:
    """The cases with the split that the source puts them in; '' for none."""
    if not split:
        return list(cases)
    return [dataclasses.replace(case, columns={"split": split}) for case in cases]
