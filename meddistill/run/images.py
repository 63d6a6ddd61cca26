"""Where the images of a RUN lie, and whether they are still those that `prepare` wrote."""

from __future__ import annotations

from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.hashing import sha256_file
from meddistill.run.tables import Case


def image_path(data_dir: Path, case: Case) -> Path:
    return data_dir / case.image


def check_as_prepared(path: Path, sha256: str) -> None:
    """Raise InputError for an image that was put in the place of the one that `prepare` wrote: boxes and
    targets are of that one. A twentieth of the time that decoding takes.

    `sha256`: of cases.csv; where that is empty nothing is known.
    """
    if sha256 and sha256_file(path) != sha256:
        raise InputError(
            f"{path} is not the image that prepare wrote (its SHA-256 is another than in cases.csv), and "
            "what is known of that one is not of this: restore it, or take changed images over with "
            "`meddistill prepare RUN --source DIR --overwrite`"
        )
