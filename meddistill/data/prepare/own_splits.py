"""The split that the data bring: in folders, in tables, in the names of a label tool's files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from meddistill.data.prepare.splits import choose_groups
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.naming import SPLIT_WORDS, words_of
from meddistill.run.tables import SPLITS, Case
from meddistill.settings.prepare import PrepareConfig

COLUMNS = ("split", "subset", "partition", "set")
_SHOWN = 3


def own_splits(cases: Sequence[RawCase], config: PrepareConfig) -> list[str] | None:
    """`train`, `val` or `test` of every case as its source has it; None where the source has none, or
    the user asks for others.

    A source has a split where some of its cases are for training and some are not; those of which
    it says nothing are for training.
    """
    if config.resplit or config.test or config.val or config.folds:
        return None
    found = [_said(case) for case in cases]
    if "train" not in found or not {"val", "test"} & set(found):
        return None
    return [split or "train" for split in found]


def says_split(cases: Sequence[RawCase]) -> bool:
    """Whether a source tells of some of its cases that they are not for training."""
    return any(_said(case) in ("val", "test") for case in cases)


def _said(case: RawCase) -> str:
    for column in COLUMNS:
        for word in words_of(case.columns.get(column, "")):
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return ""


def completed(
    own: Sequence[str],
    groups: Sequence[str],
    strata: Sequence[str],
    config: PrepareConfig,
    seed: int,
) -> list[str]:
    """The split of a source, with validation and test drawn from its training cases, by group, where
    it lacks them.

    Args:
        own: of every case, as `own_splits` gives it.
        groups: the group of every case.
        strata: the stratum of every case.
        config: shares of what is drawn.
        seed: draws groups.
    """
    splits = list(own)
    for name, share in (("test", config.test_fraction), ("val", config.val_fraction)):
        if name in own:
            continue
        members = [index for index, split in enumerate(splits) if split == "train"]
        chosen = choose_groups(
            [groups[i] for i in members], [strata[i] for i in members], share, seed, name
        )
        for index in members:
            if groups[index] in chosen:
                splits[index] = name
    return splits


def describe_splits(own: Sequence[str] | None, bare: Sequence[bool] = ()) -> str:
    """What a person is told of the split before it is made; `bare`: which cases have no mask or box."""
    if own is None:
        return "drawn, whole groups together"
    counts = Counter(own)
    text = ", ".join(f"{name} {counts[name]}" for name in SPLITS if counts[name])
    missing = [name for name in ("val", "test") if not counts[name]]
    drawn = f"; {' and '.join(missing)} drawn from train" if missing else ""
    told = {split for split, is_bare in zip(own, bare, strict=False) if not is_bare}
    blind = [name for name in ("val", "test") if counts[name] and name not in told]
    judges = f"; no mask or box in {' or '.join(blind)}" if blind and "train" in told else ""
    return f"those of the source: {text}{drawn}{judges} (--resplit draws new ones)"


def leak_of(rows: Sequence[Case]) -> str:
    """How many groups lie in more than one split, and how many images of theirs; '' where none does."""
    splits: dict[str, set[str]] = {}
    sizes: Counter[str] = Counter()
    for row in rows:
        splits.setdefault(row.group, set()).add(row.split)
        sizes[row.group] += 1
    torn = sorted(group for group, names in splits.items() if len(names) > 1)
    if not torn:
        return ""
    shown = ", ".join(torn[:_SHOWN]) + (", ..." if len(torn) > _SHOWN else "")
    return (
        f"the source's own split tears {len(torn)} of {len(splits)} groups apart ({shown}), "
        f"{sum(sizes[group] for group in torn)} of {len(rows)} images: what is measured on such a "
        "test split is too good; --resplit keeps groups together"
    )


def same_pictures(rows: Sequence[Case]) -> str:
    """How many pictures are the same to the last pixel in more than one split; '' where none is."""
    splits: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for row in rows:
        splits.setdefault(row.sha256, set()).add(row.split)
        names.setdefault(row.sha256, row.case_id)
    shared = [names[sha256] for sha256, found in splits.items() if len(found) > 1]
    if not shared:
        return ""
    shown = ", ".join(shared[:_SHOWN]) + (", ..." if len(shared) > _SHOWN else "")
    return (
        f"{len(shared)} pictures lie in more than one split, equal to the last pixel ({shown}): "
        "give copies one group with --groups"
    )
