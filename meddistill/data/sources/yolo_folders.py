"""An existing YOLO set: images/ and labels/ with equal stems, or a text file beside each image (Darknet)
or in another folder; and a file with the names of the classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from meddistill.base.errors import InputError, why_rejected
from meddistill.base.paths import printable, shown
from meddistill.data.annotations import AnnotationFile
from meddistill.data.formats.annotation_format import KnownBeside
from meddistill.data.formats.pictures import IMAGE_SUFFIXES, picture_size
from meddistill.data.formats.text_files import read_text
from meddistill.data.formats.yolo_labels import (
    YoloLabel,
    read_class_names,
    read_key_point_numbers,
)
from meddistill.data.image_names import ImageNames
from meddistill.data.raw_case import RawCase
from meddistill.data.sources.annotated_cases import RECTANGLES, annotated_case, rectangles_in
from meddistill.data.sources.masks_beside import SPLIT_FOLDERS
from meddistill.data.sources.patient_folders import with_patients
from meddistill.data.sources.source import Listing, SourceOptions
from meddistill.data.sources.walking import any_file, files_ending, image_files
from meddistill.run.tables import Rejected

_FORMAT = YoloLabel()
_CLASSES_TXT = "classes.txt"
_NAME_LISTS = (_CLASSES_TXT, "*.names", "*.labels")
_SAMPLE = 20


class YoloFolders:
    name = _FORMAT.name
    summary = (
        "images/ and labels/ with equal stems, or text files beside the images; lines "
        "`class cx cy w h` (or polygons), and data.yaml or a list of names"
    )
    general = False

    def recognise(self, directory: Path) -> str | None:
        label = _first_label(directory)
        if label and any_file(directory, "images"):
            return f"it has {shown(label, directory)} and images/"
        label = next(_elsewhere(directory), None)
        return f"it has {shown(label, directory)} with lines of shares" if label else None

    def list_cases(self, directory: Path, options: SourceOptions) -> Listing:
        table, names = _class_names(directory)
        is_yaml = table is not None and table.suffix.lower() in (".yaml", ".yml")
        points = read_key_point_numbers(table) if table is not None and is_yaml else 0
        images, rejected = image_files(directory, directory)
        inside = [path for path in images if "images" in path.relative_to(directory).parts]
        first = _first_label(directory) if inside else None
        label_of: dict[Path, Path] = {}
        if first:
            images = inside
            label_of = {path: _label_of(path, directory) for path in images}
        if not any(label.is_file() for label in label_of.values()):
            label_of, refused = _by_name(images, directory)
            rejected += refused
        if not images or not (first or label_of):
            raise InputError(f"{directory} has no images below images/, the layout of {self.name}")
        if first and not label_of:
            raise InputError(
                f"no label file of {directory} has the name of an image ({shown(first, directory)}, "
                f"{shown(images[0], directory)}): rename them, or --dataset folder takes the images "
                "alone"
            )
        cases: list[RawCase] = []
        classes = set(names.values())
        tables = [table] if table else []
        unlabelled, rectangles = 0, 0
        for path in images:
            label = label_of.get(path)
            has_label = label is not None and label.is_file()
            tables += [label] if label is not None and has_label else []
            unlabelled += not has_label
            try:
                beside = KnownBeside(names, picture_size(path), key_point_numbers=points)
                said = _FORMAT.read(label, beside) if label is not None and has_label else None
                case = _case(path, said, directory, options)
            except InputError as error:
                rejected.append(Rejected(shown(path, directory), why_rejected(error)))
                continue
            classes |= set(said.classes if said else ())
            rectangles += rectangles_in(said.images[0]) if said else 0
            cases.append(case)
        notes = (
            [f"{unlabelled} images have no label file: taken as unknown, not as free of lesions"]
            if unlabelled
            else []
        )
        if rectangles:
            notes.append(f"{RECTANGLES}: {rectangles}")
        if table and names and (unnamed := sorted(classes - set(names.values()))):
            notes.append(f"class numbers that {table.name} does not name: {', '.join(unnamed)}")
        return Listing(with_patients(cases, directory), rejected, notes, sorted(classes), tables)


def _class_names(directory: Path) -> tuple[Path | None, dict[int, str]]:
    """The file that names the classes, and what it says: data.yaml, or a list of names a line."""
    found = files_ending(directory, (".yaml", ".yml"))
    tables = [path for path in found if len(path.relative_to(directory).parts) <= 2]
    tables.sort(key=lambda path: len(path.parts))
    for path in tables:  # another may hold the settings of a training
        if names := read_class_names(path):
            return path, names
    table = tables[0] if tables else None
    listed = any_file(directory, *_NAME_LISTS, depth=3)
    if listed is None:
        return table, {}
    lines = [printable(line.strip()) for line in read_text(listed).splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return listed, dict(enumerate(lines))


def _elsewhere(directory: Path) -> Iterator[Path]:
    """Text files with lines of shares that are called like a picture, wherever they lie; of many a
    few are looked into."""
    texts = files_ending(directory, (".txt",))
    stems = {path.stem for path in files_ending(directory, IMAGE_SUFFIXES)} if texts else set()
    texts = [path for path in texts if path.stem in stems]
    step = max(1, len(texts) // _SAMPLE)
    return (path for path in texts[::step] if _FORMAT.in_shares(path))


def _by_name(images: Sequence[Path], directory: Path) -> tuple[dict[Path, Path], list[Rejected]]:
    """The label file of each image, and label files that are nobody's or not the only one."""
    names = ImageNames([path.relative_to(directory).as_posix() for path in images])
    found: dict[Path, Path] = {}
    rejected: list[Rejected] = []
    for path in files_ending(directory, (".txt",)):
        if not (_FORMAT.in_shares(path) or not path.stat().st_size):
            continue
        below = path.relative_to(directory)
        try:
            image = images[names.find(below.with_suffix("").as_posix(), below.parent.as_posix())]
        except InputError as error:
            rejected.append(
                Rejected(shown(path, directory), f"labels of no image: {why_rejected(error)}")
            )
            continue
        if image in found:
            why = f"another label file is this image's: {shown(found[image], directory)}"
            rejected.append(Rejected(shown(path, directory), why))
            continue
        found[image] = path
    return found, rejected


def _first_label(directory: Path) -> Path | None:
    for folder in (directory / "labels", *directory.glob("*/labels")):
        for pattern in ("*.txt", "*/*.txt"):
            for path in folder.glob(pattern):
                if path.name != _CLASSES_TXT:  # labelImg's, there before any label is
                    return path
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
    path: Path, said: AnnotationFile | None, directory: Path, options: SourceOptions
) -> RawCase:
    """The case of an image, of which its label file says `said`; None: there is none."""
    parts = path.relative_to(directory).parts[:-1]
    if "images" in parts:
        split = next((part for part in reversed(parts) if part != "images"), "")
    else:
        split = next((part for part in reversed(parts) if part.lower() in SPLIT_FOLDERS), "")
    columns = {"split": split} if split else {}
    return annotated_case(path, directory, said.images[0] if said else None, options, columns)
