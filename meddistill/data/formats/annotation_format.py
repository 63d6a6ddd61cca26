"""What a kind of annotation file is. `known_annotation_formats` lists those that there are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from meddistill.base.errors import InputError
from meddistill.data.annotations import AnnotationFile


@dataclasses.dataclass(frozen=True)
class KnownBeside:
    """What an annotation file may leave to others: the names of its class numbers, the size
    (height, width) in px of the image that it belongs to, or of the images that it names (None:
    no such image), and how many numbers of key points follow those of a box."""

    class_names: Mapping[int, str] = dataclasses.field(default_factory=dict)
    size_hw: tuple[int, int] | None = None
    size_of: Callable[[str], tuple[int, int] | None] | None = None
    key_point_numbers: int = 0


NOTHING_BESIDE = KnownBeside()
DAMAGED = (InputError, LookupError, TypeError, ValueError, OverflowError, AttributeError)
"""What taking apart an object of a file raises that holds something else than it should."""


def why_damaged(error: Exception, part: str) -> str:
    """What a person is told of an error among `DAMAGED`; `part`: what the tool calls an object."""
    return str(error) if isinstance(error, InputError) else f"{part} is damaged"


class AnnotationFormat(Protocol):
    """The files of one label tool, or of a family of them.

    `summary` describes a file in a line (for `meddistill sources`); `looks_like` is what an error
    says that a folder lacks; `suffixes` are how the files' names end, in lower case. `per_image`: a
    file belongs to one image. `no_annotation`: what an image without any object means, for the
    page that lists the formats.
    """

    name: str
    summary: str
    looks_like: str
    suffixes: tuple[str, ...]
    per_image: bool
    no_annotation: str

    def recognise(self, path: Path) -> str | None:
        """Why a file with the suffix is of this format, by its first bytes; None where it is not."""
        ...

    def read(self, path: Path, beside: KnownBeside = NOTHING_BESIDE) -> AnnotationFile | None:
        """What the file says, boxes in px; None for one that turns out to be something else.

        An image of which the file says nothing usable has a `problem`. Raises: InputError for a
        file that cannot be read at all.
        """
        ...
