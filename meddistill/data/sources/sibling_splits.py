"""Folders that say a split among other words (`a. Training Set` beside `b. Testing Set`): taken at their
word where they differ from their siblings in it alone."""

from __future__ import annotations

from collections.abc import Iterable

from meddistill.data.sources.naming import SPLIT_WORDS, without_roles, word_set, words_of

_FILLERS = word_set("set data dataset")

Folders = tuple[str, ...]


def sibling_splits(folders: Iterable[Folders]) -> dict[Folders, str]:
    """The split of each folder, given by all names down to it, that says one so.

    Siblings of several names (`BraTS20_Training_001`, `BraTS20_Training_002`) are cases: none.

    Args:
        folders: those that files lie in, each by all names down to it.
    """
    below: dict[Folders, set[str]] = {}
    for names in set(folders):
        for depth, name in enumerate(names):
            below.setdefault(names[:depth], set()).add(name)
    found: dict[Folders, str] = {}
    for parent, children in below.items():
        said = {name: split for name in children if (split := _split_in(name))}
        if len(set(said.values())) > 1 and len({_rest(name) for name in said}) == 1:
            found.update(((*parent, name), split) for name, split in said.items())
    return found


def _split_in(name: str) -> str:
    said = {SPLIT_WORDS[word] for word in words_of(name) if word in SPLIT_WORDS}
    return said.pop() if len(said) == 1 else ""


def _rest(name: str) -> tuple[str, ...]:
    """What a name says but for a split, for what it holds, and for its own number or letter before."""
    words = words_of(name)
    if len(words) > 1 and len(words[0]) == 1:
        words = words[1:]
    words = without_roles(words)
    return tuple(word for word in words if word not in _FILLERS and word not in SPLIT_WORDS)
