"""What another RUN asked its teacher, taken over: files are keyed by all that they depend on, so one
that is of use here is found under its name, and any other is never looked at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from meddistill.base.files import atomic_path

KINDS = ("targets", "encodings", "answers")


def inherit(older: Path, teacher_dir: Path, case_ids: Collection[str]) -> int:
    """Take over the targets, encodings and answers below `older` (a RUN/teacher) of these cases;
    returns how many files were new. Hard links where the disk allows, else copies."""
    if older.resolve() == teacher_dir.resolve():
        return 0
    taken = 0
    for kind in KINDS:
        for path in sorted((older / kind).glob("*.npz")):
            # ID.KEY.npz, or ID.HASH.KEY.npz; an id may hold dots itself.
            parts = path.name.split(".")
            known = any(".".join(parts[:end]) in case_ids for end in range(1, len(parts)))
            here = teacher_dir / kind / path.name
            if known and not here.exists():
                _link(path, here)
                taken += 1
    return taken


def _link(path: Path, here: Path) -> None:
    here.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, here)
    except FileExistsError:
        return  # another process of the job was faster
    except OSError:
        with atomic_path(here) as temporary:
            shutil.copyfile(path, temporary)
