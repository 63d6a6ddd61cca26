"""Tie images to masks by name, for every layout where that is all there is to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from meddistill.base.paths import shown
from meddistill.data.formats.picture_refs import ImageFile, MaskFiles
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.source import SourceOptions
from meddistill.run.tables import Rejected


def pair(
    images: Sequence[Path],
    masks: Mapping[str, Sequence[Path]],
    directory: Path,
    options: SourceOptions,
    *,
    key: Callable[[Path], str],
    class_name: Callable[[Path], str] = lambda path: "",
    group: Callable[[Path], str] = lambda path: "",
) -> tuple[list[RawCase], list[Rejected]]:
    """Cases of the images whose `key` has masks; an image without one, two images with one key, and
    a mask that no image claims are rejected.

    Args:
        images: the image files.
        masks: mask files by key; those of one key are united.
        directory: the source folder.
        options: of these, `labels` says what of a mask is lesion.
        key: what ties an image to its masks.
        class_name: the class of an image.
        group: the group of an image.
    """
    cases: list[RawCase] = []
    rejected: list[Rejected] = []
    by_key: dict[str, list[Path]] = {}
    for path in images:
        by_key.setdefault(key(path), []).append(path)
    for name, paths in by_key.items():
        for path in paths:
            source = shown(path, directory)
            if len(paths) > 1:
                rejected.append(
                    Rejected(source, f"{len(paths)} images share the name '{name}': whose mask?")
                )
            elif name not in masks:
                rejected.append(Rejected(source, "no mask with its name"))
            else:
                mask = MaskFiles(tuple(masks[name]), options.labels)
                cases.append(
                    RawCase(
                        path.stem,
                        source,
                        ImageFile(path),
                        mask,
                        None,
                        class_name(path),
                        group(path),
                    )
                )
    for name in masks.keys() - by_key.keys():
        rejected += [
            Rejected(shown(path, directory), "mask without an image") for path in masks[name]
        ]
    return cases, rejected


def by_name(paths: Sequence[Path], key: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Paths grouped by their key."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(key(path), []).append(path)
    return found
