"""From converted cases to rows of cases.csv: ids, splits, subsets, and which training cases keep
their boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meddistill.base.console import warn
from meddistill.base.errors import InputError
from meddistill.data.case_ids import assign_case_ids
from meddistill.data.findings import LESION, SEPARATOR, Findings
from meddistill.data.prepare.convert import Converted
from meddistill.data.prepare.own_splits import completed, own_splits
from meddistill.data.prepare.splits import (
    STRATIFICATIONS,
    CaseFacts,
    HeldOut,
    assign_folds,
    keep_boxes,
    split_by_groups,
    take_cases,
)
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.group_table import Selection
from meddistill.run.tables import SPLITS, Case
from meddistill.settings.prepare import PrepareConfig

LEAST_WITH_VALIDATION = 40
"""Boxed images from which a fifth serves to choose by; fewer all train, on a fixed schedule."""


def partition(
    good: Sequence[tuple[RawCase, Converted]],
    config: PrepareConfig,
    seed: int,
    previous: Mapping[str, str],
    findings: Findings = LESION,
) -> tuple[list[Case], dict[str, Converted]]:
    """Rows of cases.csv, sorted by split and id, and the conversion of each by case id.

    Raises: InputError where the settings leave no training case, or cut a group.

    Args:
        good: the cases that became images, and what became of each.
        config: settings of `prepare`.
        seed: draws groups.
        previous: the split that a group had before an update, which it keeps.
        findings: of the RUN.
    """
    cases = [case for case, _ in good]
    ids = assign_case_ids(cases)
    groups = [case.group or case_id for case, case_id in zip(cases, ids, strict=True)]
    splits = _splits(good, groups, config, seed, previous)
    most = {
        "train": config.max_train_cases,
        "val": config.max_val_cases,
        "test": config.max_test_cases,
    }
    kept: list[int] = []
    for split in SPLITS:
        members = [index for index, name in enumerate(splits) if name == split]
        stays = take_cases(
            [groups[index] for index in members], most[split], seed, f"subset of {split}"
        )
        kept += [index for index, stay in zip(members, stays, strict=True) if stay]
    unboxed = _unboxed(kept, good, groups, splits, config, seed)
    unboxed |= {i for i in kept if splits[i] != "test" and _between(cases[i], config.box_every)}
    rows, results = [], {}
    for index in kept:
        case, result = good[index]
        hidden = index in unboxed
        place = ids[index], groups[index], splits[index]
        rows.append(_row(case, result, findings, *place, hidden))
        results[ids[index]] = result
    rows.sort(key=lambda row: (SPLITS.index(row.split), row.case_id))
    if not any(row.split == "train" for row in rows):
        raise InputError(
            f"no case is left for training of {len(rows)}; change --test, --val or the fractions"
        )
    return rows, results


def _between(case: RawCase, every: int) -> bool:
    """Whether a slice lies between those that keep their boxes."""
    return bool(every) and bool(case.volume) and case.slice is not None and case.slice % every != 0


def _unboxed(
    kept: Sequence[int],
    good: Sequence[tuple[RawCase, Converted]],
    groups: Sequence[str],
    splits: Sequence[str],
    config: PrepareConfig,
    seed: int,
) -> set[int]:
    """The cases whose annotation is held back, as if nobody had looked at them.

    Args:
        kept: places of the cases in the data set, in the sequences that follow.
        good: the cases and what became of them.
        groups: the group of each.
        splits: the split of each.
        config: `box_count` or `box_fraction`.
        seed: draws groups.
    """
    if not config.box_count:
        hidden: set[int] = set()
        for split in ("train", "val") if config.thin_validation else ("train",):
            members = [i for i in kept if splits[i] == split]
            looked_at = [groups[i] for i in members if good[i][1].annotation != "unknown"]
            annotated = keep_boxes(looked_at, config.box_fraction, seed)
            hidden |= {i for i in members if groups[i] not in annotated}
        return hidden
    boxed = {
        split: [i for i in kept if splits[i] == split and good[i][1].annotation == "boxes"]
        for split in ("train", "val")
    }
    in_validation = config.box_count // 5 if config.box_count >= LEAST_WITH_VALIDATION else 0
    in_validation = min(in_validation, len(boxed["val"]))
    wanted = {"train": config.box_count - in_validation, "val": in_validation}
    if len(boxed["train"]) < wanted["train"]:
        warn(
            f"box_count is {config.box_count}, but only {len(boxed['train'])} training images have a "
            f"box (and {len(boxed['val'])} of validation): {len(boxed['train']) + in_validation} are kept"
        )
    held_back = {i for i in kept if splits[i] in wanted}
    for split, most in wanted.items():
        if most:
            stays = take_cases([groups[i] for i in boxed[split]], most, seed, "boxes")
            held_back -= {i for i, stay in zip(boxed[split], stays, strict=True) if stay}
    return held_back


def _splits(
    good: Sequence[tuple[RawCase, Converted]],
    groups: Sequence[str],
    config: PrepareConfig,
    seed: int,
    previous: Mapping[str, str],
) -> list[str]:
    cases = [case for case, _ in good]
    facts = [CaseFacts(case.class_name, result.lesion_share, case.columns) for case, result in good]
    strata = STRATIFICATIONS[config.stratify](facts)
    own = own_splits(cases, config)
    if own is not None:
        return completed(own, groups, strata, config, seed)
    test = _chosen(cases, config.test)
    if config.folds:
        test = [fold == config.fold for fold in assign_folds(groups, strata, config.folds, seed)]
    return split_by_groups(
        groups,
        strata,
        test=HeldOut(config.test_fraction, test),
        val=HeldOut(config.val_fraction, _chosen(cases, config.val)),
        seed=seed,
        fixed=previous,
    )


def _chosen(cases: Sequence[RawCase], selection: str) -> list[bool] | None:
    if not selection:
        return None
    wanted = Selection.parse(selection)
    return [wanted.chooses(case) for case in cases]


def _row(
    case: RawCase,
    result: Converted,
    findings: Findings,
    case_id: str,
    group: str,
    split: str,
    hidden: bool,
) -> Case:
    return Case(
        case_id=case_id,
        split=split,
        group=group,
        class_name=case.class_name,
        annotation="unknown" if hidden else result.annotation,
        has_mask=result.has_mask,
        image=f"images/{split}/{case_id}.png",
        width=result.width,
        height=result.height,
        n_boxes=0 if hidden else len(result.boxes),
        spacing_mm=result.spacing_mm,
        source=case.source,
        sha256=result.sha256,
        findings="" if hidden else _looked_for(result, findings),
        volume=case.volume,
        slice=case.slice,
        slice_mm=_slice_mm(case, result),
    )


def _slice_mm(case: RawCase, result: Converted) -> float | None:
    if not case.volume:
        return None
    return case.slice_mm if result.slice_mm is None else round(result.slice_mm, 6)


def _looked_for(result: Converted, findings: Findings) -> str:
    """Of several findings those that somebody looked for; empty: all, or none in an unknown
    case."""
    if findings.is_one or all(result.looked_for) or result.annotation == "unknown":
        return ""
    looked = zip(findings.names, result.looked_for, strict=True)
    return SEPARATOR.join(name for name, was in looked if was)
