"""NIfTI volumes cut into slices: MSD, BraTS (a folder a patient), nnU-Net, images/ and masks/."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from meddistill.base.errors import ConfigError, InputError, MissingPackageError
from meddistill.base.paths import shown
from meddistill.data.formats.known_image_formats import IMAGE_FORMATS
from meddistill.data.formats.nifti import MaskSlice, VolumeSlice, extent
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.folder import MASK_FOLDERS
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, walk_files
from meddistill.run.tables import Rejected

_PATTERNS = ("*.nii.gz", "*.nii")
_MASK_FOLDERS = (*MASK_FOLDERS, "labelstr", "labelsts")
_MASK_END = re.compile(r"[_-](seg|segmentation|mask|label|gt)$", re.IGNORECASE)
_CHANNEL_END = re.compile(
    r"[_-](\d{4}|t1|t1c|t1ce|t1n|t1w|t2|t2w|t2f|flair|adc|dwi|ct|pet)$", re.IGNORECASE
)
_AXES = ("sagittal", "coronal", "axial")


class NiftiFolders:
    name = "nifti"
    summary = "*.nii[.gz] with masks in labelsTr/ or masks/, or beside as *_seg (MSD, BraTS, nnU-Net); cut into slices"
    general = False

    def recognise(self, directory: Path) -> str | None:
        found = any_file(directory, *_PATTERNS)
        return f"it has {shown(found, directory)}" if found else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        found, rejected = walk_files(directory, directory)
        files = [path for path in found if IMAGE_FORMATS["nifti"].claims(path)]
        if not files:
            raise InputError(f"{directory} holds no *.nii or *.nii.gz, the layout of {self.name}")
        masks = {_volume_name(path): path for path in files if _is_mask(path)}
        volumes: dict[str, dict[str, Path]] = {}
        for path in files:
            if not _is_mask(path):
                name = _volume_name(path, set(masks))
                volumes.setdefault(name, {})[_stem(path)[len(name) :].strip("_-")] = path
        cases: list[RawCase] = []
        rejected += [
            Rejected(shown(path, directory), "mask without an image volume")
            for name, path in masks.items()
            if name not in volumes
        ]
        for name, channels in volumes.items():
            path, channel = _choose_channel(name, channels, options.channel)
            try:
                cases += _slices(name, path, channel, masks.get(name), directory, options)
            except MissingPackageError:
                raise
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), str(error)))
        note = f"{len(volumes)} volumes are cut into {_AXES[options.axis]} slices; groups are the volumes"
        return Listing(cases, rejected, [note])


def _stem(path: Path) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _is_mask(path: Path) -> bool:
    return path.parent.name.lower() in _MASK_FOLDERS or bool(_MASK_END.search(_stem(path)))


def _volume_name(path: Path, known: set[str] | frozenset[str] = frozenset()) -> str:
    """A file's name without what tells masks and channels apart; a name that a mask has is taken as
    it is."""
    stem = _stem(path)
    return stem if stem in known else _CHANNEL_END.sub("", _MASK_END.sub("", stem))


def _choose_channel(name: str, channels: dict[str, Path], wanted: str) -> tuple[Path, str]:
    if len(channels) == 1:
        return next(iter(channels.values())), wanted
    if wanted in channels:
        return channels[wanted], ""
    raise ConfigError(
        f"volume {name} has the channels {', '.join(sorted(channels))}; choose one with --set "
        "prepare.channel=NAME"
    )


def _slices(
    name: str, path: Path, channel: str, mask: Path | None, directory: Path, options: SourceOptions
) -> list[RawCase]:
    count, channels = extent(path, options.axis)
    number = 0
    if channels > 1:
        if not channel.isdecimal() or int(channel) >= channels:
            raise ConfigError(
                f"{path.name} has {channels} channels; choose one with --set prepare.channel=0"
            )
        number = int(channel)
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
                f"{shown(path, directory)}#{_AXES[options.axis]}{index}",
                VolumeSlice(path, options.axis, index, number),
                MaskSlice(mask, options.axis, index, options.labels) if mask else None,
                group=name,
                is_slice=True,
                keep_if_empty=chance < options.empty_slices,
            )
        )
    return cases
