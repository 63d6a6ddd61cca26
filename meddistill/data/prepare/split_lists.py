"""Lists of names that say a split: `train.txt` beside `val.txt` or `test.txt`, as YOLO's data.yaml
points to them and Pascal VOC keeps them in ImageSets."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from meddistill.base import console
from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.text_files import read_text
from meddistill.data.image_names import ImageNames
from meddistill.data.prepare.own_splits import says_split
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.naming import SPLIT_WORDS, word_set, words_of
from meddistill.data.sources.walking import files_ending
from meddistill.settings.prepare import PrepareConfig

_ENDINGS = (".txt", ".lst", ".list")
_NEUTRAL = word_set(
    "list lists file files filelist image images img imgs name names filenames id ids set sets "
    "split splits data dataset case cases patient patients subject subjects"
)
_LONGEST = 64 << 20
"""Bytes of a list; a longer file is none."""
_FOUND = 0.5
"""Least share of a list's lines that name images of the source."""


def with_split_lists(
    cases: Sequence[RawCase], directory: Path, config: PrepareConfig
) -> tuple[list[RawCase], list[Path]]:
    """The cases with the split of the list that names each, in the column `split`, and the lists; as
    they are where the source says a split otherwise, the user asks for another, or there are no lists
    for training and for more.

    A line is an image's name or path, a volume, a group or a folder. Lists that name one image for different
    parts are folds or a mistake: none is taken, which is said.
    """
    others = config.resplit or config.test or config.val or config.folds or config.table
    files = {} if others or says_split(cases) else _lists(directory)
    if not _is_split(files.values()):
        return list(cases), []
    names = _Names(cases, directory)
    lines = {path: _lines(path) for path in files}
    whole = names.are_whole([line for each in lines.values() for line in each])
    found = {path: named for path in files if (named := names.of(lines[path], whole))}
    if not _is_split([files[path] for path in found]):
        return list(cases), []
    split_of: dict[int, str] = {}
    torn = set()
    for path, named in found.items():
        torn |= {index for index in named if split_of.setdefault(index, files[path]) != files[path]}
    told = ", ".join(shown(path, directory) for path in found)
    if torn:
        first = cases[min(torn)].source
        console.warn(
            f"{told} name {len(torn)} images for more than one part ({first}, ...): no split is "
            "taken from them; --groups TABLE with a column split says one"
        )
        return list(cases), []
    left = len(cases) - len(split_of)
    rest = f"; {left} images that none of them names are for training" if left else ""
    console.say(f"splits are read from {told}{rest}")
    return [
        dataclasses.replace(case, columns={**case.columns, "split": split_of[index]})
        if index in split_of
        else case
        for index, case in enumerate(cases)
    ], list(found)


def _is_split(splits: Collection[str]) -> bool:
    return "train" in splits and not {"val", "test"}.isdisjoint(splits)


def _lists(directory: Path) -> Mapping[Path, str]:
    """The files that are called like a part of a split, with it. `trainval` is for training where
    its two halves have no lists of their own."""
    found, both = {}, {}
    for path in files_ending(directory, _ENDINGS):
        words = [word for word in words_of(path.stem) if not word.isdigit()]
        parts = {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}
        if not parts or not set(words) <= SPLIT_WORDS.keys() | _NEUTRAL:
            continue
        if "trainval" in words or parts == {"train", "val"}:
            both[path] = "train"
        elif len(parts) == 1:
            found[path] = parts.pop()
    return found if {"train", "val"} <= set(found.values()) else {**both, **found}


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > _LONGEST:
        return []
    return [line.strip() for line in read_text(path).splitlines() if line.strip()]


class _Names:
    """The cases of a source by what a list may call them."""

    def __init__(self, cases: Sequence[RawCase], directory: Path) -> None:
        self._of_file: dict[str, list[int]] = {}
        self._of_name: dict[str, list[int]] = {}
        for index, case in enumerate(cases):
            path = shown(case.image.files[0], directory)
            self._of_file.setdefault(path, []).append(index)
            slice_name = case.name if case.volume else ""
            folders = path.split("/")[:-1]  # patients' often, also where groups are hashed
            for name in {slice_name, case.volume, case.group, *folders} - {""}:
                self._of_name.setdefault(name.casefold(), []).append(index)
        self._files = list(self._of_file)
        self._names = ImageNames(self._files)

    def are_whole(self, lines: Sequence[str]) -> bool:
        """Whether all lines are names of folders, groups or volumes. Patients 1 to 9 are, though there be
        images `1.png` to `9.png`."""
        return all(line.casefold() in self._of_name for line in lines)

    def of(self, lines: Sequence[str], whole: bool) -> set[int]:
        """The cases that a list names; none where it is no list of them. `whole`: its lines are what
        `are_whole` says."""
        named = [self._of_name[line.casefold()] if whole else self._of_line(line) for line in lines]
        if sum(bool(each) for each in named) <= _FOUND * len(lines):
            return set()
        return {index for each in named for index in each}

    def _of_line(self, line: str) -> Sequence[int]:
        """By the whole line, else by its first word (a mask's name or a number follows)."""
        for name in dict.fromkeys((line, *line.replace(",", " ").split()[:1])):
            try:
                return self._of_file[self._files[self._names.find(name)]]
            except InputError:
                if indices := self._of_name.get(name.casefold()):
                    return indices
        return ()
