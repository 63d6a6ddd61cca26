"""Whose a volume is: by BIDS, by folders, by names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.data.sources.folder import folder_meanings
from meddistill.data.sources.naming import Named
from meddistill.data.sources.scan_channels import CHANNEL_END, MORE_CHANNELS, NUMBER_END

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
"""How BIDS calls a patient, in folders and at the beginning of names."""


def groups_of(images: Sequence[Named]) -> dict[Path, str]:
    """The patient of each volume by BIDS, else the patient's folder; '' where folders do not look like
    patients."""
    found = {path: group for path, (_, group) in folder_meanings(images, least_patients=3).items()}
    for image in images:
        parts = (*image.folders, image.stem.partition("_")[0])
        subject = next((part for part in parts if _SUBJECT.fullmatch(part)), "")
        found[image.path] = subject or found[image.path]
    return found


def of_one_patient(volumes: Mapping[str, Mapping[str, Named]]) -> dict[str, str]:
    """By a volume's name whose it is: its own, or what it shares with others that differ in the name of
    their modality (`p1_t1` and `p1_t2` with a mask each)."""
    bases = {
        name: name
        if NUMBER_END.search(name)
        else MORE_CHANNELS.sub("", name)
        if MORE_CHANNELS.search(name)
        else CHANNEL_END.sub("", name)
        for name in volumes
    }
    shared = Counter(bases.values())
    return {name: base if shared[base] > 1 else name for name, base in bases.items()}
