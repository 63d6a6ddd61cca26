"""Who goes to train, validation and test: whole groups, in an order that only seed and group name decide."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from meddistill.errors import InputError


def seeded_order(names: Iterable[str], seed: int, purpose: str) -> list[str]:
    """The names once each, in a random order that does not change where other names come or go."""
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}|{purpose}|{name}".encode()).digest())


def choose_groups(groups: Sequence[str], strata: Sequence[str], share: float, seed: int, purpose: str) -> set[str]:
    """Whole groups that together hold about `share` of the cases, and of each stratum as near as groups allow.

    `groups[i]` and `strata[i]` are of case i; a group counts for the stratum that most of its cases have.
    Where share > 0 and there are at least two groups, at least one is chosen and at least one left.
    """
    sizes = Counter(groups)
    if share <= 0 or len(sizes) < 2:
        return set()
    votes: dict[str, Counter[str]] = {}
    for group, stratum in zip(groups, strata, strict=True):
        votes.setdefault(group, Counter())[stratum] += 1
    members: dict[str, list[str]] = {}
    for group in seeded_order(sizes, seed, purpose):
        stratum = min(votes[group], key=lambda name: (-votes[group][name], name))
        members.setdefault(stratum, []).append(group)
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


def split_by_groups(
    groups: Sequence[str],
    strata: Sequence[str],
    *,
    test: Sequence[bool] | None,
    val: Sequence[bool] | None,
    test_fraction: float,
    val_fraction: float,
    seed: int,
) -> list[str]:
    """`train`, `val` or `test` of every case; a group never straddles two.

    `test[i]` and `val[i]` say that the user put case i there; None draws whole groups by share (validation's is of
    what test leaves). Raises: InputError where a group's cases are chosen for different splits.
    """
    in_test = _explicit(groups, test, "test") if test is not None else None
    in_val = _explicit(groups, val, "val") if val is not None else None
    if in_test is not None and in_val is not None and (both := in_test & in_val):
        raise InputError(f"group '{min(both)}' is chosen for both test and val")
    if in_test is None:
        in_test = _drawn(groups, strata, in_val or set(), test_fraction, seed, "test")
    if in_val is None:
        in_val = _drawn(groups, strata, in_test, val_fraction, seed, "val")
    return ["test" if group in in_test else "val" if group in in_val else "train" for group in groups]


def _explicit(groups: Sequence[str], chosen: Sequence[bool], split: str) -> set[str]:
    inside = {group for group, is_in in zip(groups, chosen, strict=True) if is_in}
    outside = {group for group, is_in in zip(groups, chosen, strict=True) if not is_in}
    if straddling := inside & outside:
        raise InputError(f"group '{min(straddling)}' has cases inside and outside of the {split} split")
    if not inside:
        raise InputError(f"no case is chosen for the {split} split")
    return inside


def _drawn(
    groups: Sequence[str], strata: Sequence[str], taken: Collection[str], share: float, seed: int, purpose: str
) -> set[str]:
    rest = [(group, stratum) for group, stratum in zip(groups, strata, strict=True) if group not in taken]
    return choose_groups([group for group, _ in rest], [stratum for _, stratum in rest], share, seed, purpose)


def take_cases(groups: Sequence[str], most: int, seed: int, purpose: str) -> list[bool]:
    """Which cases stay when at most `most` may (0: all): whole groups in a seeded order, the last one cut short."""
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
    """The seeded share of groups that keeps its boxes; at least one where share > 0. A smaller share is a subset."""
    order = seeded_order(groups, seed, "boxes")
    count = round(share * len(order))
    return set(order[: max(count, 1) if share > 0 else 0])
