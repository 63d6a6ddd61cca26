"""Who goes to train, validation and test: whole groups, in an order that only seed and group name
decide."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from meddistill.base.errors import InputError


def seeded_order(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """The names once each, in a random order that does not change where other names come or go."""
    return sorted(
        set(names), key=lambda name: hashlib.sha256(f"{seed}|{purpose}|{name}".encode()).digest()
    )


def choose_groups(
    groups: Sequence[str], strata: Sequence[str], share: float, seed: int, purpose: str
) -> set[str]:
    """Whole groups that together hold about `share` of the cases, and of each stratum as near as
    groups allow.

    Where share > 0 and there are at least two groups, at least one is chosen and at least one left.

    Args:
        groups: the group of every case.
        strata: the stratum of every case; a group counts for the one that most of its cases have.
        share: of the cases, in [0, 1].
        seed: orders the groups.
        purpose: another one gives another order.
    """
    sizes = Counter(groups)
    if share <= 0 or len(sizes) < 2:
        return set()
    stratum_of = _stratum_of_groups(groups, strata)
    members: dict[str, list[str]] = {}
    for group in seeded_order(sizes, seed, purpose):
        members.setdefault(stratum_of[group], []).append(group)
    chosen: set[str] = set()
    owed = 0.0  # what earlier strata could not take, or took too much of
    for stratum in sorted(members):
        owed += share * sum(sizes[group] for group in members[stratum])
        for group in members[stratum]:
            if sizes[group] / 2 <= owed:
                chosen.add(group)
                owed -= sizes[group]
    order = seeded_order(sizes, seed, purpose)
    return chosen - {order[-1]} if len(chosen) == len(sizes) else chosen or {order[0]}


@dataclasses.dataclass(frozen=True)
class CaseFacts:
    """What a split may be balanced by: class, the lesion's share of the image, and other columns
    of the source's tables."""

    class_name: str
    lesion_share: float
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """How the cases of a split that is kept from training are found.

    `chosen[i]`: the user put case i there; None draws whole groups that hold about `share` of the
    cases.
    """

    share: float
    chosen: Sequence[bool] | None = None


def split_by_groups(
    groups: Sequence[str],
    strata: Sequence[str],
    test: HeldOut,
    val: HeldOut,
    seed: int,
    fixed: Mapping[str, str] | None = None,
) -> list[str]:
    """`train`, `val` or `test` of every case; a group never straddles two.

    Raises: InputError where a group's cases are chosen for different splits.

    Args:
        groups: the group of every case.
        strata: the stratum of every case: each gets its share of the drawn splits.
        test: which cases are for testing.
        val: which are for validation; its share is of what test leaves.
        seed: draws the groups.
        fixed: groups whose split is known from before and stays, unless the user put them
            elsewhere.
    """
    in_test = _explicit(groups, test.chosen, "test") if test.chosen is not None else None
    in_val = _explicit(groups, val.chosen, "val") if val.chosen is not None else None
    if in_test is not None and in_val is not None and (both := in_test & in_val):
        raise InputError(f"group '{min(both)}' is chosen for both test and val")
    fixed = {group: split for group, split in (fixed or {}).items() if group in set(groups)}
    if in_test is None:
        in_test = {group for group, split in fixed.items() if split == "test"} - (in_val or set())
        in_test |= _drawn(
            groups, strata, fixed.keys() | (in_val or set()), test.share, seed, "test"
        )
    if in_val is None:
        in_val = {group for group, split in fixed.items() if split == "val"} - in_test
        in_val |= _drawn(groups, strata, fixed.keys() | in_test, val.share, seed, "val")
    return [
        "test" if group in in_test else "val" if group in in_val else "train" for group in groups
    ]


def _explicit(groups: Sequence[str], chosen: Sequence[bool], split: str) -> set[str]:
    inside = {group for group, is_in in zip(groups, chosen, strict=True) if is_in}
    outside = {group for group, is_in in zip(groups, chosen, strict=True) if not is_in}
    if straddling := inside & outside:
        raise InputError(
            f"group '{min(straddling)}' has cases inside and outside of the {split} split"
        )
    if not inside:
        raise InputError(f"no case is chosen for the {split} split")
    return inside


def _drawn(
    groups: Sequence[str],
    strata: Sequence[str],
    taken: Collection[str],
    share: float,
    seed: int,
    purpose: str,
) -> set[str]:
    rest = [
        (group, stratum)
        for group, stratum in zip(groups, strata, strict=True)
        if group not in taken
    ]
    return choose_groups(
        [group for group, _ in rest], [stratum for _, stratum in rest], share, seed, purpose
    )


def assign_folds(groups: Sequence[str], strata: Sequence[str], folds: int, seed: int) -> list[int]:
    """Fold 0 .. folds-1 of every case: whole groups, largest first, each to the fold with the
    fewest cases of its stratum, then the fewest cases. Raises: InputError where there are fewer
    groups than folds.

    Args:
        groups: the group of every case.
        strata: the stratum of every case.
        folds: how many there are to be.
        seed: orders groups of one size.
    """
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise InputError(f"{len(sizes)} groups cannot make {folds} folds")
    stratum_of = _stratum_of_groups(groups, strata)
    totals = [0] * folds
    by_stratum: dict[str, list[int]] = {}
    fold_of: dict[str, int] = {}
    order = seeded_order(sizes, seed, "folds")
    for group in sorted(order, key=lambda name: -sizes[name]):
        counts = by_stratum.setdefault(stratum_of[group], [0] * folds)
        fold = min(range(folds), key=lambda index: (counts[index], totals[index]))
        fold_of[group] = fold
        counts[fold] += sizes[group]
        totals[fold] += sizes[group]
    if 0 in totals:  # strata of one group each all went to the same few folds
        fold_of = {group: index % folds for index, group in enumerate(order)}
    return [fold_of[group] for group in groups]


def _stratum_of_groups(groups: Sequence[str], strata: Sequence[str]) -> dict[str, str]:
    """The stratum that most cases of a group have."""
    votes: dict[str, Counter[str]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        votes.setdefault(group, Counter())[stratum] += 1
    return {
        group: min(found, key=lambda name: (-found[name], name)) for group, found in votes.items()
    }


def size_terciles(lesion_shares: Sequence[float]) -> list[str]:
    """`none`, `small`, `medium` or `large` for every case, by the terciles of the shares above
    0.
    """
    present = sorted(share for share in lesion_shares if share > 0)
    if not present:
        return ["none"] * len(lesion_shares)
    first, second = present[len(present) // 3], present[2 * len(present) // 3]
    return [
        "none"
        if share <= 0
        else "small"
        if share < first
        else "medium"
        if share < second
        else "large"
        for share in lesion_shares
    ]


def take_cases(groups: Sequence[str], most: int, seed: int, purpose: str) -> list[bool]:
    """Which cases stay: whole groups in a seeded order, the last one cut short.

    Args:
        groups: the group of every case.
        most: how many may stay; 0 for all.
        seed: orders the groups.
        purpose: another one gives another order.
    """
    if most <= 0 or len(groups) <= most:
        return [True] * len(groups)
    left = most
    keeps: dict[str, int] = {}
    sizes = Counter(groups)
    for group in seeded_order(sizes, seed, purpose):
        keeps[group] = min(sizes[group], left)
        left -= keeps[group]
    kept = []
    for group in groups:
        kept.append(keeps[group] > 0)
        keeps[group] -= 1
    return kept


def keep_boxes(groups: Sequence[str], share: float, seed: int) -> set[str]:
    """The seeded share of groups that keeps its boxes; at least one where share > 0. A smaller
    share is a subset."""
    order = seeded_order(groups, seed, "boxes")
    count = round(share * len(order))
    return set(order[: max(count, 1) if share > 0 else 0])


def _by_nothing(facts: Sequence[CaseFacts]) -> list[str]:
    return [""] * len(facts)


def _by_class(facts: Sequence[CaseFacts]) -> list[str]:
    return [each.class_name for each in facts]


def _by_class_and_size(facts: Sequence[CaseFacts]) -> list[str]:
    sizes = size_terciles([each.lesion_share for each in facts])
    return [f"{each.class_name}|{size}" for each, size in zip(facts, sizes, strict=True)]


STRATIFICATIONS: dict[str, Callable[[Sequence[CaseFacts]], list[str]]] = {
    "class+size": _by_class_and_size,
    "class": _by_class,
    "none": _by_nothing,
}
"""What drawn splits are balanced by, for each value of `prepare.stratify`: the stratum of every
case. To add one: a function, a line here, and its name among the choices of the setting."""
