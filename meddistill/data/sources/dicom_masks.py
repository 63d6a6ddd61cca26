"""Which files are masks of which DICOM images, by their folders and names."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.dicom import DicomImage
from meddistill.data.formats.known_image_formats import IMAGE_FORMATS
from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.sources.file_roles import Patterns, Roles
from meddistill.data.sources.folder import MASK_SUFFIXES
from meddistill.data.sources.matching import match
from meddistill.data.sources.name_patterns import pattern_of
from meddistill.data.sources.naming import (
    IMAGE_WORDS,
    MASK_WORDS,
    Named,
    name_files,
    role_words,
    words_of,
)
from meddistill.data.sources.pairing import by_name
from meddistill.data.sources.source import SourceOptions

_ENDINGS = (*IMAGE_SUFFIXES, *IMAGE_FORMATS["dicom"].suffixes)
_BY_PATH = "equal paths but for folders of images and of masks, or `_mask` behind a name"
LONELY = "mask without an image"
_LOOKED_INTO = 24
_FEW = 10
"""One in so many files that are black and white alone may be a page of text."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """`mask_of` by the image's path; `problems`: images and masks that cannot be used, and why. The
    rest as of `Understood`."""

    mask_of: dict[Path, Path]
    problems: Sequence[tuple[Path, str]] = ()
    masks: str = ""
    rule: str = ""
    readings: Sequence[str] = ()


def masks_among(paths: Sequence[Path], directory: Path) -> set[Path]:
    """Those that lie in a folder of masks, or whose names end as masks' do after another one's
    (`IM0_mask.dcm` beside `IM0.dcm`); with one of these all of that end."""
    stem_of = {path: without_ending(path.name) for path in paths}
    stems = {(path.parent, stem) for path, stem in stem_of.items()}
    ends = {path: _end_of(stem) for path, stem in stem_of.items()}
    told = {end for path, end in ends.items() if (path.parent, _base(stem_of[path])) in stems}
    return {
        path
        for path in paths
        if _in_mask_folder(path, directory) or (ends[path] and ends[path] in told)
    }


def _end_of(stem: str) -> str:
    return next((end for end in MASK_SUFFIXES if stem.lower().endswith(end)), "")


def _base(stem: str) -> str:
    end = _end_of(stem)
    return stem[: -len(end)] if end else ""


def _in_mask_folder(path: Path, directory: Path) -> bool:
    return any(_holds_masks(part) for part in path.relative_to(directory).parts[:-1])


def pairs_of(
    images: Sequence[Path], masks: Sequence[Path], directory: Path, options: SourceOptions
) -> Pairs:
    """The mask of each image: by equal paths but for the folders that say what they hold, else as
    names tell. Raises: InputError where an image has several."""
    if not masks:
        return Pairs({})
    found = _by_path(images, masks, directory)
    found = (
        found if found.mask_of or found.problems else _by_names(images, masks, directory, options)
    )
    told = {*found.mask_of.values(), *(path for path, _ in found.problems)}
    lonely = [(path, LONELY) for path in masks if path not in told]
    used = set(found.mask_of.values())
    named = [each for each in _named(masks, directory) if each.path in used]
    pattern = pattern_of(named, directory) if named else ""
    return dataclasses.replace(found, problems=[*found.problems, *lonely], masks=pattern)


def _by_path(images: Sequence[Path], masks: Sequence[Path], directory: Path) -> Pairs:
    images_of = by_name(images, lambda path: _image_key(path, directory))
    mask_of: dict[Path, Path] = {}
    problems: list[tuple[Path, str]] = []
    for key, own in by_name(masks, lambda path: _mask_key(path, directory)).items():
        of = images_of.get(key, [])
        if of and len(own) > 1:
            raise InputError(_several(of[0], own, directory))
        if len(of) > 1:
            problems += [
                (path, f"{len(of)} images share the name '{key}': whose mask?") for path in of
            ]
        elif of:
            mask_of[of[0]] = own[0]
    return Pairs(mask_of, problems, rule=_BY_PATH)


def _by_names(
    images: Sequence[Path], masks: Sequence[Path], directory: Path, options: SourceOptions
) -> Pairs:
    named = _named([*images, *masks], directory)
    roles = Roles(named[: len(images)], {}, [])
    for each in named[len(images) :]:
        kind = ("named by --masks",) if options.masks else role_words(each)
        roles.kinds.setdefault(kind, []).append(each)
    matched = match(named, directory, Patterns(options.images, options.masks), roles)
    problems = [*matched.problems, *matched.unused]
    for path, own in matched.masks_of.items():
        if len(own) > 1:
            raise InputError(_several(path, own, directory))
    pairs = {path: own[0] for path, own in matched.masks_of.items()}
    return Pairs(pairs, problems, rule=matched.rule, readings=matched.readings)


def refuse_unnamed_masks(images: Sequence[Path], directory: Path) -> None:
    """Raises: InputError where files among those looked into are black and white alone, as masks that
    an archive stores as DICOM images (CBIS-DDSM): they are no images, and nothing says whose they
    are."""
    # At random: in a fixed step all that are looked into may be of one kind.
    looked = sorted(random.Random(0).sample(images, min(len(images), _LOOKED_INTO)))
    masks = [path for path in looked if _is_black_and_white(path)]
    if len(masks) < max(2, len(looked) / _FEW):
        return
    names = ", ".join(shown(path, directory) for path in masks[:3])
    raise InputError(
        f"{len(masks)} of {len(looked)} DICOM files that were looked into hold two values alone "
        f"({names}, ...): they look like masks, and their names do not say whose they are; --masks "
        "PATTERN takes those of their images' names, --images PATTERN the images alone, --images '*' "
        "all for images"
    )


def _is_black_and_white(path: Path) -> bool:
    try:
        pixels = DicomImage(path).load().pixels
    except InputError:  # listing or reading the images says it
        return False
    low, high = pixels.min(), pixels.max()
    return bool(low < high and ((pixels == low) | (pixels == high)).all())


def _several(image: Path, masks: Sequence[Path], directory: Path) -> str:
    """What is wrong where an image has several masks, with a pattern that takes the first."""
    one, two = (path.relative_to(directory).parts for path in masks[:2])
    folder = next((a for a, b in zip(one[:-1], two[:-1], strict=False) if a != b), "")
    pattern = f"{folder}/*" if folder else masks[0].name if len(one) == len(two) else one[0]
    listed = ", ".join(shown(path, directory) for path in masks[:3])
    return (
        f"{shown(image, directory)} has {len(masks)} masks: {listed}; choose one kind with --masks, such "
        f"as --masks '{pattern}'"
    )


def _named(paths: Sequence[Path], directory: Path) -> list[Named]:
    """The files by their names, of which a number at the end is a part (`I.001`)."""
    found = name_files(paths, directory, ())
    stems = [without_ending(each.path.name) for each in found]
    return [
        dataclasses.replace(each, stem=stem, stem_words=words_of(stem))
        for each, stem in zip(found, stems, strict=True)
    ]


def without_ending(name: str) -> str:
    """A file's name without an ending of images; a number or a UID's last part is none."""
    path = Path(name)
    return path.stem if path.suffix.lower() in _ENDINGS else name


def _mask_key(path: Path, directory: Path) -> str:
    """Path without the folder of masks and without ending; without one also without `_mask`."""
    *folders, name = path.relative_to(directory).parts
    stem = without_ending(name)
    first = next((place for place, part in enumerate(folders) if _holds_masks(part)), None)
    if first is None:
        return "/".join([*folders, _base(stem) or stem])
    return "/".join([*folders[:first], *folders[first + 1 :], stem])


def _holds_masks(folder: str) -> bool:
    """Whether a folder's name says masks and not images: `MASKS_DICOM`, `labels`."""
    words = words_of(folder)
    return not MASK_WORDS.isdisjoint(words) and IMAGE_WORDS.isdisjoint(words)


def _image_key(path: Path, directory: Path) -> str:
    *folders, name = path.relative_to(directory).parts
    kept = [part for part in folders if part.lower() != "images"]
    return "/".join([*kept, without_ending(name)])
