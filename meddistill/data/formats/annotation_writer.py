"""What writes the files of a label tool. `known_annotation_writers` lists those that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from meddistill.data.annotations import AnnotatedImage


class AnnotationWriter(Protocol):
    """Writes what is annotated so that the tool opens it, and that `read` of the format gives back
    the same boxes, unknown images and images where nothing is there.

    `source`: the layout by which `prepare` reads it back. `holds_masks`: shapes are written, too.
    `holds_predictions`: so are the objects of images that nobody looked at, as a tool's own.
    `next_step`: what a person does with the files, in a sentence.
    """

    source: str
    holds_masks: bool
    holds_predictions: bool
    next_step: str

    def place(self, file_name: str, split: str) -> str:
        """Where an image goes, relative to the folder that is written."""
        ...

    def write(self, out: Path, images: Sequence[AnnotatedImage], classes: Sequence[str]) -> None:
        """Write the files beside the images.

        Args:
            out: the folder.
            images: `image` is where it lies in `out`, with `size_hw`; all boxes in px. Objects of
                one that was not looked at are predictions.
            classes: every class, in the order in which they are numbered.
        """
        ...


def in_images(file_name: str, split: str) -> str:
    """The usual place of an image: one folder for all splits."""
    return f"images/{file_name}"


def file_name_of(image: AnnotatedImage) -> str:
    return PurePosixPath(image.image).name


def stem_of(image: AnnotatedImage) -> str:
    return PurePosixPath(image.image).stem


def size_of(image: AnnotatedImage) -> tuple[int, int]:
    """Height and width, which must be known. Raises: ValueError."""
    if image.size_hw is None:
        raise ValueError(f"the size of {image.image} is not known")
    return image.size_hw
