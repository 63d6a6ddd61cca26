"""Whose a volume is: by BIDS, by folders, by names."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import median

from meddistill.data.sources.folder import folder_meanings
from meddistill.data.sources.naming import Named
from meddistill.data.sources.scan_channels import CHANNEL_END, MORE_CHANNELS, NUMBER_END

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
"""How BIDS calls a patient, in folders and at the beginning of names."""
_VISIT = re.compile(r"(.*\d{5,})-\d{3}")
"""BraTS from 2023 on: `BraTS-GLI-00002-001` is the second visit of `BraTS-GLI-00002`."""
_MOST_VISITS = 5
"""Where there are more on average, numbers are rather patients of a site."""
_PATIENT = re.compile(r"(p|pt|pat|patient|sub|subj|subject|case|s|id)[\W_]*\d+", re.IGNORECASE)
_FEW_FOLDERS, _MANY_VOLUMES = 6, 3
"""Fewer folders of so many volumes each, all numbered in one row, are classes."""


@dataclasses.dataclass(frozen=True)
class Groups:
    """The patient of each volume by its path, '' where folders do not look like patients; `note`: what
    a person should know of it."""

    of: Mapping[Path, str]
    note: str = ""


def groups_of(images: Sequence[Named]) -> Groups:
    """The patient of each volume by BIDS, else the patient's folder."""
    found = {path: group for path, (_, group) in folder_meanings(images, least_patients=3).items()}
    notes = []
    if classes := _classes_among(images, found):
        found = dict.fromkeys(found, "")
        notes.append(
            f"folders {', '.join(classes)} are no patients, as each holds volumes of a number of their "
            "own (--groups says otherwise)"
        )
    visits = of_visits(set(found.values()))
    if merged := {group for group in visits.values() if group not in visits}:
        count = sum(group in merged for group in visits.values())
        notes.append(f"{count} folders are visits (-000, -001) of {len(merged)} patients")
    found = {path: visits[group] for path, group in found.items()}
    for image in images:
        parts = (*image.folders, image.stem.partition("_")[0])
        subject = next((part for part in parts if _SUBJECT.fullmatch(part)), "")
        found[image.path] = subject or found[image.path]
    return Groups(found, "; ".join(notes))


def of_visits(names: Collection[str]) -> dict[str, str]:
    """By name the patient: the name, or what several share but for the number of a visit."""
    bases = {name: found[1] for name in names if (found := _VISIT.fullmatch(name))}
    shared = Counter(bases.values())
    if len(bases) > _MOST_VISITS * len(shared):
        return {name: name for name in names}
    return {
        name: bases[name] if name in bases and shared[bases[name]] > 1 else name for name in names
    }


def _classes_among(images: Sequence[Named], groups: Mapping[Path, str]) -> list[str]:
    """The folders where they hold many volumes each whose names are one row of numbers through all of
    them (MosMed: `CT-0/study_0001`, `CT-1/study_0255`); [] where they may be patients."""
    held: dict[str, list[str]] = {}
    for image in images:
        if group := groups[image.path]:
            held.setdefault(group, []).append(image.stem)
    stems = [stem for each in held.values() for stem in each]
    if not (
        1 < len(held) < _FEW_FOLDERS
        and median(len(each) for each in held.values()) >= _MANY_VOLUMES
        and len(set(stems)) == len(stems)
        and len({re.sub(r"\d+", "0", stem) for stem in stems}) == 1
    ):
        return []
    names = {group: group.rpartition("/")[2] for group in held}
    are_patients = any(_PATIENT.fullmatch(name) for name in names.values()) or any(
        names[group].lower() in stem.lower() for group, each in held.items() for stem in each
    )
    return [] if are_patients else sorted(names.values())


def of_one_patient(volumes: Mapping[str, Mapping[str, Named]]) -> dict[str, str]:
    """By a volume's name whose it is: its own, or what it shares with others that differ in the name of
    their modality (`p1_t1` and `p1_t2` with a mask each) or the number of a visit."""
    bases = {
        name: name
        if NUMBER_END.search(name)
        else MORE_CHANNELS.sub("", name)
        if MORE_CHANNELS.search(name)
        else CHANNEL_END.sub("", name)
        for name in volumes
    }
    shared = Counter(bases.values())
    whose = {name: base if shared[base] > 1 else name for name, base in bases.items()}
    visits = of_visits(set(whose.values()))
    return {name: visits[base] for name, base in whose.items()}
