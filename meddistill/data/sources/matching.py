"""Which mask is whose: inferred from names, never from an order.

The files of a folder fall into images and kinds of masks (`file_roles`). Then rules are tried, the
strictest first, by which what is left of two paths must be equal; of those of one tier the one
counts that finds an image for the most masks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.data.sources.file_roles import Patterns, Roles, roles_by_name
from meddistill.data.sources.matching_rules import (
    FOLDERS,
    Key,
    Rule,
    as_it_is,
    channel_of,
    one_a_folder,
    rules_of,
)
from meddistill.data.sources.name_patterns import pattern_of
from meddistill.data.sources.naming import ALL_MASK_WORDS, LESION_WORDS, MASK_WORDS, Named

_LEAST_SHARE = 0.5
"""A rule counts that finds an image for at least this share of the masks (or a mask for that of the
images, where there are fewer)."""

_LONELY = "mask without an image"


@dataclasses.dataclass(frozen=True)
class Matched:
    """What belongs together.

    `images`: every image, in the order given; `masks_of` by the image's path: its masks, more than
    one where they are parts of one mask. `channels`: images that are channels of one case, by the
    path of each, as (case, channel). `problems`: images and masks that cannot be used, and why;
    `unused`: files of another kind, and why. `rule`: how masks were found, for a person; `readings`:
    what else the names may mean, and the option that says so.
    """

    images: list[Named]
    masks_of: Mapping[Path, tuple[Path, ...]]
    channels: Mapping[Path, tuple[Key, str]] = dataclasses.field(default_factory=dict)
    problems: Sequence[tuple[Path, str]] = ()
    unused: Sequence[tuple[Path, str]] = ()
    rule: str = ""
    readings: Sequence[str] = ()
    masks: Sequence[Named] = ()


@dataclasses.dataclass(frozen=True)
class _Pairing:
    """What a rule makes of one kind of masks: masks by image key, images by key, and the masks that
    found none."""

    rule: Rule
    images: dict[Key, list[Named]]
    masks: dict[Key, list[Named]]
    lonely: list[Named]

    @property
    def paired(self) -> int:
        return sum(len(masks) for masks in self.masks.values())


def _pair(rule: Rule, images: Sequence[Named], masks: Sequence[Named]) -> _Pairing:
    by_key: dict[Key, list[Named]] = {}
    for image in images:
        by_key.setdefault(rule.of_image(rule.of(image)), []).append(image)
    found: dict[Key, list[Named]] = {}
    lonely = []
    one_each = rule.of in FOLDERS  # one that holds two images does not say whose mask it holds
    for mask in masks:
        key = rule.of(mask)
        # `1_mask_2.png` is another part of the mask of `1.png`.
        part = key[:-1] if key and key[-1].isdigit() and key not in by_key else key
        fitting = next((each for each in (key, part) if each in by_key), None)
        if fitting is not None and not (one_each and len(by_key[fitting]) > 1):
            found.setdefault(fitting, []).append(mask)
        else:
            lonely.append(mask)
    return _Pairing(rule, by_key, found, lonely)


def _best(
    rules: Sequence[Rule], images: Sequence[Named], masks: Sequence[Named]
) -> _Pairing | None:
    """The pairing by the first tier in which enough masks find an image; None where in none."""
    enough = _LEAST_SHARE * min(len(images), len(masks))
    best: _Pairing | None = None
    for tier in sorted({rule.tier for rule in rules}):
        for rule in rules:
            if rule.tier != tier:
                continue
            found = _pair(rule, images, masks)
            better = best is None or _alone(found) > _alone(best)
            if found.paired and better:
                best = found
            if best is not None and best.paired == len(masks) == _alone(best):
                return best
        if best is not None and best.paired >= enough:
            return best
    return best


def _alone(pairing: _Pairing) -> int:
    """Masks whose image is the only one of its key, or one channel of a case."""
    return sum(
        len(masks)
        for key, masks in pairing.masks.items()
        if len(pairing.images[key]) == 1 or _are_channels(pairing.rule, pairing.images[key])
    )


def _are_channels(rule: Rule, images: Sequence[Named]) -> bool:
    """Whether images of one key differ in the channel at the end of their names."""
    if rule.of_image is as_it_is:
        return False
    names = {channel_of(rule.of(image)) for image in images}
    return "" not in names and len(names) == len(images)


# --- from rules to pairs


def match(
    files: Sequence[Named], directory: Path, patterns: Patterns, roles: Roles | None = None
) -> Matched:
    """What belongs together among `files`, by their names.

    Raises: InputError where two kinds of masks fit the same images equally well.

    Args:
        files: images and masks, in the order of their paths.
        directory: the source folder.
        patterns: what the user says of roles.
        roles: what is known of them from elsewhere, such as contents; None for what names say.
    """
    given = roles is not None
    roles = roles or roles_by_name(files, directory, patterns)
    rules = rules_of(files)
    pairings = _pairings(rules, roles)
    if not given and any(_is_doubtful(kind, pairings, roles) for kind in roles.kinds):
        # Words such as `tumor` were the name of a class, not of a mask.
        roles = roles_by_name(files, directory, patterns, doubtful=False)
        pairings = _pairings(rules, roles)
    chosen, left, readings = _choose(pairings, directory)
    unused = list(roles.unused) + left
    problems: list[tuple[Path, str]] = []
    masks_of: dict[Path, tuple[Path, ...]] = {}
    channels: dict[Path, tuple[Key, str]] = {}
    for kind in chosen:
        _take(pairings[kind], masks_of, channels, problems)
    for kind, masks in roles.kinds.items():
        if kind not in pairings:
            problems += [(mask.path, _LONELY) for mask in masks]
    passed_over = _of_passed_over(rules, roles, problems)
    unused += passed_over
    left_out = {path for path, _ in passed_over}
    problems = [(path, why) for path, why in problems if path not in left_out]
    bad = {path for path, _ in problems}
    return Matched(
        images=[file for file in roles.images if file.path not in bad],
        masks_of=masks_of,
        channels=channels,
        problems=problems,
        unused=unused,
        rule="; ".join(dict.fromkeys(pairings[kind].rule.says for kind in chosen)),
        readings=readings,
        masks=[
            mask for kind in chosen for masks in pairings[kind].masks.values() for mask in masks
        ],
    )


def _pairings(rules: Sequence[Rule], roles: Roles) -> dict[tuple[str, ...], _Pairing]:
    found = {}
    for kind, masks in roles.kinds.items():
        pairing = _best(rules, roles.images, masks)
        if pairing is not None:
            found[kind] = pairing
    return found


def _is_doubtful(
    kind: tuple[str, ...], pairings: Mapping[tuple[str, ...], _Pairing], roles: Roles
) -> bool:
    """Whether nothing but a word such as `tumor` speaks for masks, and they find no image; or only
    whatever the folder, which is named so."""
    if not MASK_WORDS.isdisjoint(kind):
        return False
    pairing = pairings.get(kind)
    in_names = any(not ALL_MASK_WORDS.isdisjoint(mask.stem_words) for mask in roles.kinds[kind])
    return pairing is None or (pairing.rule.tier > 0 and not in_names)


def _choose(
    pairings: Mapping[tuple[str, ...], _Pairing], directory: Path
) -> tuple[list[tuple[str, ...]], list[tuple[Path, str]], list[str]]:
    """The kinds of masks that are taken, the files of the others with the reason, and what is said of
    that. Kinds that share no image do not compete. Of two that mean the same for most images the one
    whose names are nearer need not be the better: DRIVE's mask/ is the field of view."""
    order = sorted(pairings, key=lambda kind: (_rank(kind, pairings[kind]), kind))
    chosen: list[tuple[str, ...]] = []
    left: list[tuple[Path, str]] = []
    readings: list[str] = []
    for kind in order:
        rival = next((each for each in chosen if _shared(pairings[each], pairings[kind])), None)
        if rival is None:
            chosen.append(kind)
            continue
        first, second = pairings[rival], pairings[kind]
        names = _named(first, directory), _named(second, directory)
        if _rank(rival, first) == _rank(kind, second) or (
            _meaning(rival) == _meaning(kind) and _shared(first, second) >= _LEAST_SHARE
        ):
            raise InputError(
                f"{directory} has two kinds of masks for the same images, {names[0]} and "
                f"{names[1]}: choose with --masks '{names[0]}' or --masks '{names[1]}'"
            )
        readings.append(
            f"masks are {names[0]}; {names[1]} may be masks as well: --masks '{names[1]}' takes those"
        )
        everything = [*second.lonely, *(mask for masks in second.masks.values() for mask in masks)]
        left += [(mask.path, f"another kind of mask than {names[0]}") for mask in everything]
    return chosen, left, readings


def _rank(kind: tuple[str, ...], pairing: _Pairing) -> tuple[int, int]:
    return pairing.rule.tier, _meaning(kind)


def _meaning(kind: tuple[str, ...]) -> int:
    """How clearly the words say that masks are of what was found: 0 the clearest."""
    words = (MASK_WORDS, LESION_WORDS)
    meaning = next((place for place, known in enumerate(words) if not known.isdisjoint(kind)), 2)
    # Pascal VOC keeps the classes of pixels beside the numbers of objects.
    return max(meaning, int("segmentationobject" in kind))


def _shared(first: _Pairing, second: _Pairing) -> float:
    """The share of the first's images that the second has masks of, too."""

    def images(pairing: _Pairing) -> set[Path]:
        return {image.path for key in pairing.masks for image in pairing.images[key]}

    own = images(first)
    return len(own & images(second)) / max(1, len(own))


def _named(pairing: _Pairing, directory: Path) -> str:
    return pattern_of([mask for masks in pairing.masks.values() for mask in masks], directory)


def _take(
    pairing: _Pairing,
    masks_of: dict[Path, tuple[Path, ...]],
    channels: dict[Path, tuple[Key, str]],
    problems: list[tuple[Path, str]],
) -> None:
    """Add what one pairing says to the three."""
    has_channels = pairing.rule.of_image is not as_it_is
    for key, masks in pairing.masks.items():
        images = pairing.images[key]
        names = [channel_of(pairing.rule.of(image)) for image in images]
        if len(images) > 1 and not _are_channels(pairing.rule, images):
            why = f"{len(images)} images share the stem '{images[0].stem}': whose mask?"
            problems += [(image.path, why) for image in images]
            continue
        if len(masks) > 1 and not _are_parts(masks, pairing.rule):
            several = len({mask.path.name for mask in masks}) < len(masks)
            listed = ", ".join(
                f"{mask.path.parent.name}/{mask.path.name}" if several else mask.path.name
                for mask in masks
            )
            options = "; --masks chooses"
            if len({mask.stem for mask in masks}) == len(masks):
                options += " one, --findings a,b takes one a finding, by these names"
            why = f"several masks have its stem: {listed}{options}"
            problems += [(image.path, why) for image in images]
            continue
        for image, name in zip(images, names, strict=True):
            masks_of[image.path] = tuple(mask.path for mask in masks)
            if has_channels and name:
                channels[image.path] = (key, name)
    problems += [(mask.path, _LONELY) for mask in pairing.lonely]


def _of_passed_over(
    rules: Sequence[Rule], roles: Roles, problems: Sequence[tuple[Path, str]]
) -> list[tuple[Path, str]]:
    """Masks whose image is there, and does not fit --images: they lack none."""
    lonely = {path for path, why in problems if why == _LONELY}
    masks = [mask for kind in roles.kinds.values() for mask in kind if mask.path in lonely]
    pairing = _best(rules, roles.passed_over, masks) if roles.passed_over and masks else None
    found = [mask for each in pairing.masks.values() for mask in each] if pairing else []
    return [(mask.path, "its image does not fit --images") for mask in found]


def _are_parts(masks: Sequence[Named], rule: Rule) -> bool:
    """Whether several masks of an image are parts of one: numbered, or each of another name in a
    folder that holds one image."""
    return len({rule.of(mask) for mask in masks}) == len(masks) or rule.of is one_a_folder
