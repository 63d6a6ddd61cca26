"""Whose a picture is, where the files of a label tool say nothing of it and folders do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from meddistill.data.formats.pictures import IMAGE_SUFFIXES
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.folder import folder_meanings
from meddistill.data.sources.naming import name_files


def with_patients(cases: Sequence[RawCase], directory: Path) -> list[RawCase]:
    """The cases with their folders as groups, where these look like patients; as they are where any
    has a group already."""
    if any(case.group for case in cases):
        return list(cases)
    paths = [case.image.files[0] for case in cases]
    meanings = folder_meanings(name_files(paths, directory, IMAGE_SUFFIXES))
    return [
        dataclasses.replace(case, group=meanings[path][1])
        for case, path in zip(cases, paths, strict=True)
    ]
