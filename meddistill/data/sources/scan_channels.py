"""Which files of volumes are channels of one, what it is called, and which of them is taken."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import ConfigError
from meddistill.base.paths import shown
from meddistill.data.sources.matching import Matched
from meddistill.data.sources.naming import Named, without_roles
from meddistill.run.tables import Rejected

_MASK_END = re.compile(r"[_-](seg|segmentation|mask|label|gt)$", re.IGNORECASE)
CHANNEL_END = re.compile(
    r"[_-](\d{4}|t1|t1c|t1ce|t1n|t1w|t2|t2w|t2f|flair|adc|dwi|ct|pet)$", re.IGNORECASE
)
MORE_CHANNELS = re.compile(r"[_-](pt|hbv|cor|sag|pd|mprage|swi|dce|cet1|hrt2)$", re.IGNORECASE)
"""PI-CAI, HECKTOR, crossMoDA; also planes, which alone are volumes of their own."""
NUMBER_END = re.compile(r"[_-](\d{4})$")
_WORD_END = re.compile(r"[_-]([A-Za-z][A-Za-z0-9]*)$")


def volumes_of(matched: Matched) -> dict[str, dict[str, Named]]:
    """Images by the name of their volume, then by channel ('' where there is but one)."""
    whole = {image.stem for image in matched.images if image.path in matched.masks_of}
    whole -= {
        image.stem for image in matched.images if image.path in matched.channels
    }  # a name that a mask has is taken as it is
    whole |= _numbered_volumes(matched)
    beside = _with_channels(matched, whole)
    names = {
        image.path: image.stem if image.stem in whole else _volume_name(image, beside)
        for image in matched.images
    }
    bare = Counter(
        name for image in matched.images if _says_nothing(image, name := names[image.path])
    )
    by_folder = _clashes(matched.images, names)
    found: dict[str, dict[str, Named]] = {}
    for image in matched.images:
        name = names[image.path]
        channel = image.stem[len(name) :].strip("_-")
        if name in by_folder and image.folders:
            folder = "_".join(image.folders)
            name = folder if name in bare else f"{folder}_{name}"
        found.setdefault(name, {})[channel] = image
    return found


def _numbered_volumes(matched: Matched) -> set[str]:
    """Stems with a number of four digits that is no channel: those of nnU-Net count from 0000, so that
    `IMG_0001` and `IMG_0002` alone are two patients."""
    ends: dict[tuple[tuple[str, ...], str], set[str]] = {}
    found = [
        (image, number)
        for image in matched.images
        if image.path not in matched.channels and (number := NUMBER_END.search(image.stem))
    ]
    for image, number in found:
        ends.setdefault((image.folders, image.stem[: number.start()]), set()).add(number[1])
    return {
        image.stem
        for image, number in found
        if "0000" not in ends[image.folders, image.stem[: number.start()]]
    }


def _says_nothing(image: Named, name: str) -> bool:
    """Whether a file's name has no word of its own, such as `scan.nii.gz`."""
    return not without_roles(image.stem_words) and bool(name)


def _clashes(images: Sequence[Named], names: Mapping[Path, str]) -> set[str]:
    """Names that images of more than one folder have: channels of a volume lie in one."""
    folders: dict[str, set[tuple[str, ...]]] = {}
    channels = Counter((names[image.path], image.stem) for image in images)
    for image in images:
        folders.setdefault(names[image.path], set()).add(image.folders)
    return {
        names[image.path]
        for image in images
        if len(folders[names[image.path]]) > 1 and channels[names[image.path], image.stem] > 1
    }


def _with_channels(matched: Matched, whole: set[str]) -> set[tuple[tuple[str, ...], str]]:
    """Folders and names of the volumes that have a channel for certain: of `CHANNEL_END`, or several
    that share a mask. `MORE_CHANNELS` are channels beside such a one; alone they may be any name."""
    cases = Counter(case for case, _ in matched.channels.values())
    found = set()
    for image in matched.images:
        bare = _MASK_END.sub("", image.stem)
        case, _ = matched.channels.get(image.path, ((), ""))
        if image.stem not in whole and CHANNEL_END.search(bare):
            found.add((image.folders, CHANNEL_END.sub("", bare)))
        elif cases[case] > 1:
            found.add((image.folders, MORE_CHANNELS.sub("", bare)))
    return found


def _volume_name(image: Named, beside: set[tuple[tuple[str, ...], str]]) -> str:
    """A file's name without what tells channels apart."""
    bare = _MASK_END.sub("", image.stem)
    name = CHANNEL_END.sub("", bare)
    less = MORE_CHANNELS.sub("", bare)
    return less if name == bare and (image.folders, less) in beside else name


def with_masks_of_others(matched: Matched, wanted: str) -> Matched:
    """Where a mask was found for another channel alone (`A__CT` is `A` to names, `A__PT` is not) it is that
    of the wanted channel, too: whether it lies there is asked of every mask."""
    if not wanted:
        return matched
    masks: dict[tuple[tuple[str, ...], str], set[tuple[Path, ...]]] = {}
    for image in matched.images:
        bare = MORE_CHANNELS.sub("", CHANNEL_END.sub("", image.stem))
        if bare != image.stem and (found := matched.masks_of.get(image.path)):
            masks.setdefault((image.folders, bare.rstrip("_-")), set()).add(found)
    end = re.compile(rf"[_-]+{re.escape(wanted)}$", re.IGNORECASE)
    masks_of = dict(matched.masks_of)
    for image in matched.images:
        beside = masks.get((image.folders, end.sub("", image.stem)), set())
        if image.path not in masks_of and end.search(image.stem) and len(beside) == 1:
            (masks_of[image.path],) = beside
    return dataclasses.replace(matched, masks_of=masks_of)


def without_others(
    volumes: dict[str, dict[str, Named]], wanted: str, directory: Path, masked: Container[Path]
) -> list[Rejected]:
    """Take away those of which all that there is is a channel of another name than the wanted one.

    Args:
        volumes: by name and channel; those that are no wanted one go.
        wanted: the channel.
        directory: the source.
        masked: the images with a mask.
    """
    if not wanted or (wanted.isdecimal() and len(wanted) < 4):
        return []  # such a number is of a fourth axis
    end = re.compile(rf"[_-]{re.escape(wanted)}$", re.IGNORECASE)
    having = {name for name, channels in volumes.items() if wanted in channels}
    having |= {end.sub("", name) for name in volumes if end.search(name)}
    found = []
    for name, channels in list(volumes.items()):
        (channel, image), *others = channels.items()
        channel = channel or _channel_by_name(name, wanted, having, image.path in masked)
        if not others and channel not in ("", wanted):
            why = f"its channel is {channel}, not {wanted}"
            found.append(Rejected(shown(image.path, directory), why))
            del volumes[name]
    return found


def _channel_by_name(name: str, wanted: str, having: Container[str], has_mask: bool) -> str:
    """The last word of a name where it is another channel than the wanted one: beside a volume that has
    that one any word without a mask of its own, and every word that is known; else ''."""
    end = _WORD_END.search(name)
    if end is None or end[1].lower() == wanted.lower():
        return ""
    is_known = bool(CHANNEL_END.search(name) or MORE_CHANNELS.search(name))
    is_beside = name[: end.start()] in having
    return end[1] if (is_known and is_beside) or (not has_mask and (is_known or is_beside)) else ""


def choose_channels(
    volumes: Mapping[str, Mapping[str, Named]], wanted: str, directory: Path
) -> tuple[dict[str, tuple[Named, str]], list[Rejected]]:
    """The file of each volume, with the number of the channel within it ('' where its name tells it), and
    those that lack the wanted one.

    Raises: ConfigError where none has it, or none was asked for.
    """
    chosen: dict[str, tuple[Named, str]] = {}
    rejected = []
    for name, channels in volumes.items():
        if wanted in channels:
            chosen[name] = channels[wanted], ""
        elif len(channels) == 1:
            chosen[name] = next(iter(channels.values())), wanted
        else:
            why = f"volume {name} has the channels {', '.join(sorted(channels))}"
            why += f", not {wanted}" if wanted else ""
            first = next(iter(channels.values()))
            rejected.append(Rejected(shown(first.path, directory), why))
    if rejected and not (chosen and wanted):
        raise ConfigError(f"{rejected[0].reason}; choose one with --set prepare.channel=NAME")
    return chosen, rejected
