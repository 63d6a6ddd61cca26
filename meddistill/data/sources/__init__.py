"""Which layouts `prepare` can read, and which of them a folder has."""

from __future__ import annotations

from pathlib import Path

from meddistill.data.sources.base import Source
from meddistill.data.sources.brain_tumor import BrainTumor
from meddistill.data.sources.folder import Folder
from meddistill.errors import ConfigError, InputError, nearest

SOURCES: tuple[Source, ...] = (BrainTumor(), Folder())


def choose_source(name: str, directory: Path) -> tuple[Source, str]:
    """The source called `name`, or for `auto` the one that recognises the folder; and why.

    Raises: InputError where the folder is missing, or no layout or more than one fits; ConfigError for an unknown name.
    """
    names = [source.name for source in SOURCES]
    if name != "auto" and name not in names:
        raise ConfigError(f"dataset is '{name}'{nearest(name, ['auto', *names])}")
    if not directory.is_dir():
        raise InputError(f"source {directory} is not a folder")
    if name != "auto":
        return next(source for source in SOURCES if source.name == name), "named"
    fits = [(source, reason) for source in SOURCES if (reason := source.recognise(directory))]
    if not fits:
        raise InputError(f"{directory} has no layout that is known; name it with --dataset {'|'.join(names)}")
    if len(fits) > 1:
        reasons = "; ".join(f"{source.name}: {reason}" for source, reason in fits)
        raise InputError(f"{directory} fits more than one layout ({reasons}); choose with --dataset")
    return fits[0]
