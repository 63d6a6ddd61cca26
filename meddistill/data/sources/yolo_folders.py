"""An existing YOLO set: images/ and labels/ with equal stems, and data.yaml with the names of the
classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from meddistill.base.errors import InputError
from meddistill.base.paths import shown
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.pictures import picture_size
from meddistill.data.formats.yolo_labels import YoloLabel, read_class_names
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import annotated_case
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, image_files
from meddistill.run.tables import Rejected

_FORMAT = YoloLabel()


class YoloFolders:
    name = _FORMAT.name
    summary = (
        "images/ and labels/ with equal stems, lines `class cx cy w h` (or polygons), and data.yaml"
    )
    general = False

    def recognise(self, directory: Path) -> str | None:
        label = _first_label(directory)
        return (
            f"it has {shown(label, directory)} and images/"
            if label and any_file(directory, "images")
            else None
        )

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        table = next(
            (path for path in (any_file(directory, "*.yaml", "*.yml", depth=1),) if path), None
        )
        names = read_class_names(table) if table else {}
        images, rejected = image_files(directory, directory)
        images = [path for path in images if "images" in path.relative_to(directory).parts]
        if not images:
            raise InputError(f"{directory} has no images below images/, the layout of {self.name}")
        cases: list[RawCase] = []
        classes = set(names.values())
        tables = [table] if table else []
        unlabelled = 0
        for path in images:
            label = _label_of(path, directory)
            has_label = label.is_file()
            tables += [label] if has_label else []
            unlabelled += not has_label
            try:
                case, found = _case(path, label if has_label else None, names, directory, options)
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), str(error)))
                continue
            classes |= set(found)
            cases.append(case)
        notes = (
            [f"{unlabelled} images have no label file: taken as unknown, not as free of lesions"]
            if unlabelled
            else []
        )
        return Listing(cases, rejected, notes, sorted(classes), tables)


def _first_label(directory: Path) -> Path | None:
    for folder in (directory / "labels", *directory.glob("*/labels")):
        found = any_file(folder, "*.txt", depth=2) if folder.is_dir() else None
        if found:
            return found
    return None


def _label_of(image: Path, directory: Path) -> Path:
    """`images` becomes `labels` in the last place where it is a folder's name, as Ultralytics
    does.
    """
    parts = list(image.relative_to(directory).parts)
    last = max(index for index, part in enumerate(parts[:-1]) if part == "images")
    parts[last] = "labels"
    return directory.joinpath(*parts).with_suffix(".txt")


def _case(
    path: Path,
    label: Path | None,
    names: Mapping[int, str],
    directory: Path,
    options: SourceOptions,
) -> tuple[RawCase, Sequence[str]]:
    """The case of an image, and the classes that its label file names (none where there is
    none)."""
    parts = path.relative_to(directory).parts
    split = next((part for part in reversed(parts[:-1]) if part != "images"), "")
    columns = {"split": split} if split else {}
    if label is None:
        return annotated_case(path, directory, None, options, columns), ()
    content = _FORMAT.read(label, KnownBeside(names, picture_size(path)))
    return annotated_case(path, directory, content.images[0], options, columns), content.classes
